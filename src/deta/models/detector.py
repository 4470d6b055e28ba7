"""The detector: images in, predictions of every stage out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from deta.models.backbone import Backbone
from deta.models.decoder import Decoder
from deta.models.encoder import Encoder
from deta.models.groups import QueryGroup, attention_mask, join
from deta.models.heads import PredictionHead
from deta.models.neck import Neck
from deta.models.position import valid_size
from deta.models.proposals import QuerySource
from deta.models.tokens import FeatureTokens
from deta.ops.random import Draw
from deta.structures import DetectionOutput, StageKey, Targets
from deta.utils.checks import require_int, require_number

FIRST, MAIN = "first", "layers"
"""Roles of the first stage and of the queries that detect."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Detector(nn.Module):
    """A detection transformer of the Deformable DETR family.

    Source: arXiv:2212.06137 (DETA), arXiv:2010.04159 (Deformable DETR), depending on ``proposals`` and
    ``decoder``. With iterative refinement every decoder layer has its own head, without it they share one.

    Args:
        num_classes: Categories.
        hidden_dim: Channels of every token; all parts must agree.
        backbone: Image to feature maps.
        neck: Makes the neck when called with ``in_channels``, the channels of the backbone's maps; such as
            ``functools.partial(Neck, hidden_dim=256, num_levels=5)``.
        encoder: Levels to memory.
        proposals: Memory to queries.
        decoder: Queries and memory to predictions.
        groups: Further groups of queries for training, by the role of their rule.
        pixel_mean: Mean of R, G, B in 0..1.
        pixel_std: Standard deviation of R, G, B in 0..1.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        hidden_dim: int,
        backbone: Backbone,
        neck: Callable[..., Neck],
        encoder: Encoder,
        proposals: QuerySource,
        decoder: Decoder,
        groups: Mapping[str, QueryGroup] | None = None,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.num_classes = require_int("num_classes", num_classes, low=1)
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.backbone = backbone
        self.neck = neck(in_channels=backbone.channels)
        _require_agreement(hidden_dim, self.neck, encoder, proposals, decoder)
        self.encoder = encoder
        self.proposals = proposals
        self.decoder = decoder
        for role in (FIRST, MAIN):
            if role in (groups or {}):
                raise ValueError(f"model.groups.{role}: this role is taken, give the group another one")
        self.groups = nn.ModuleDict(groups or {})
        num_heads = 1 if decoder.refine == "none" else decoder.num_layers
        heads = [PredictionHead(hidden_dim=hidden_dim, num_classes=num_classes) for _ in range(num_heads)]
        if proposals.reference_size == 2:
            heads[0].start_with_small_boxes()
        self.heads = nn.ModuleList(heads)
        self.register_buffer("pixel_mean", _per_channel("pixel_mean", pixel_mean, low=0.0), persistent=False)
        self.register_buffer("pixel_std", _per_channel("pixel_std", pixel_std, low=1e-6), persistent=False)

    def forward(
        self, images: Tensor, is_padding: Tensor, targets: Targets | None = None, draw: Draw | None = None
    ) -> DetectionOutput:
        """Detect objects.

        Args:
            images: ``[B, 3, H, W]`` RGB, uint8 in 0..255 or floating point in 0..1; of any size: what the
                backbone does not take as it is is padded.
            is_padding: ``[B, H, W]`` bool, True on padding, which lies at the bottom and right.
            targets: The objects, of which further groups of queries are made; None leaves these groups out.
            draw: Randomness of these groups; None leaves them out.

        Returns:
            Predictions of every stage, float32.
        """
        below, right = (self.backbone.padded_side(side) - side for side in images.shape[-2:])
        if below or right:
            images = functional.pad(images, (0, right, 0, below))
            is_padding = functional.pad(is_padding, (0, right, 0, below), value=True)
        return self.forward_features(self.backbone(self.normalise(images, is_padding)), is_padding, targets, draw)

    def forward_features(
        self,
        features: Sequence[Tensor],
        is_padding: Tensor,
        targets: Targets | None = None,
        draw: Draw | None = None,
    ) -> DetectionOutput:
        """The part behind the backbone; ``features`` are ``[B, C, h, w]``, finest first."""
        memory = self.encode(features, is_padding)
        queries, first = self.proposals(memory)
        parts = {MAIN: queries}
        if targets is not None and draw is not None:
            for role, group in self._groups():
                parts[role] = group(self.proposals, memory, queries, targets, draw.within(role))
        sees = {role: group.sees for role, group in self._groups()}
        layers = self.decoder(join(list(parts.values())), memory, self._layer_heads(), attention_mask(parts, sees))
        frame = valid_size(is_padding).repeat(1, 2)  # [B, 4]
        stages = {} if first is None else {StageKey(FIRST): replace(first, frame=frame)}
        start = 0
        for role, part in parts.items():
            stop = start + part.content.shape[1]
            for index, layer in enumerate(layers):
                own = layer if len(parts) == 1 else layer.slice(start, stop)
                stages[StageKey(role, index)] = replace(
                    own, frame=frame, source=part.source, given=part.given, exists=part.exists
                )
            start = stop
        return DetectionOutput(stages, StageKey(MAIN, len(layers) - 1))

    def encode(self, features: Sequence[Tensor], is_padding: Tensor) -> FeatureTokens:
        """The encoded image from backbone maps; masks are resized to the maps' real sizes."""
        maps = self.neck(features)
        full = is_padding[:, None].float()
        masks = [functional.interpolate(full, size=tuple(level.shape[-2:]))[:, 0] > 0.5 for level in maps]
        memory: FeatureTokens = self.encoder(maps, masks)
        return memory

    def normalise(self, images: Tensor, is_padding: Tensor) -> Tensor:
        """``[B, 3, H, W]`` float32 with zero mean and unit deviation over ImageNet, zero on padding.

        Channels last in memory: convolutions and pooling are faster so on CPU and GPU, and the maps become
        tokens without a copy.
        """
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images
        normalised = ((scaled - self.pixel_mean) / self.pixel_std).masked_fill(is_padding[:, None], 0.0)
        return normalised.contiguous(memory_format=torch.channels_last)

    def _groups(self) -> Iterator[tuple[str, QueryGroup]]:
        return ((role, group) for role, group in self.groups.items() if isinstance(group, QueryGroup))

    def _layer_heads(self) -> list[PredictionHead]:
        heads = [head for head in self.heads if isinstance(head, PredictionHead)]
        return heads * self.decoder.num_layers if self.decoder.refine == "none" else heads


def _require_agreement(
    hidden_dim: int,
    neck: Neck,
    encoder: Encoder,
    proposals: QuerySource,
    decoder: Decoder,
) -> None:
    parts = {"neck": neck, "encoder": encoder, "proposals": proposals, "decoder": decoder}
    for name, part in parts.items():
        if part.hidden_dim != hidden_dim:
            raise ValueError(f"{name}.hidden_dim must equal model.hidden_dim {hidden_dim}, got {part.hidden_dim}")
    for name, levels in (("encoder", encoder.num_levels), ("decoder", decoder.num_levels)):
        if levels != neck.num_levels:
            raise ValueError(f"{name}.num_levels must equal neck.num_levels {neck.num_levels}, got {levels}")


def _per_channel(name: str, values: Sequence[float], *, low: float) -> Tensor:
    checked = [require_number(name, value, low=low) for value in values]
    if len(checked) != 3:
        raise ValueError(f"{name} must have three numbers, for R, G and B, got {list(values)}")
    return torch.tensor(checked).view(3, 1, 1)
