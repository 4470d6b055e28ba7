"""The body of FQDet: queries of anchors, refined by a decoder without being moved, predict once."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from deta.models.attention.deformable import DeformableAttention
from deta.models.attention.self_attention import SelfAttention
from deta.models.body import Body
from deta.models.query.body import FIRST, MAIN, require_kind
from deta.models.query.encoder import Encoder
from deta.models.query.fqdet_source import AnchorQueries, PreActivated, in_padded
from deta.models.query.heads import Float32Linear
from deta.models.query.tokens import made_of
from deta.models.region import Region
from deta.ops.deltas import decode_deltas
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, Prediction, StageKey, Targets
from deta.utils.checks import require_int

LARGEST_LOG = 62.5
"""No limit in practice on the change of a box's side (the release of FQDet)."""


class FQDetBody(Body):
    """A first stage of anchors, a pre-norm decoder around them, and one prediction behind its last layer.

    The logits have one channel more than there are classes, the last one for the background; boxes are coded as deltas
    to the anchor of their query. Padding is treated as part of the image, and so the decoder sees boxes relative to the
    padded images.

    Source: arXiv:2210.02318 (FQDet) and its release.

    Args:
        num_classes: Categories.
        channels: Of every level of the neck, all ``hidden_dim``.
        hidden_dim: Channels of every token; all parts must agree.
        encoder: What the neck's maps go through first; ``nn.Identity`` leaves them as they are.
        source: Maps to queries.
        decoder: Changes the queries.

    Raises:
        ValueError: A part is of another kind, or the parts do not agree in channels or levels.
    """

    roles = (FIRST, MAIN)
    detects_on_grid = False

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        hidden_dim: int,
        encoder: Encoder | nn.Identity,
        source: AnchorQueries,
        decoder: "AnchorDecoder",
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("model.body.hidden_dim", hidden_dim, low=1)
        require_kind(self, "encoder", encoder, Encoder, nn.Identity)
        require_kind(self, "source", source, AnchorQueries)
        require_kind(self, "decoder", decoder, AnchorDecoder)
        widths = {"neck": channels[0], "source": source.hidden_dim, "decoder": decoder.hidden_dim}
        levels = {"decoder": decoder.num_levels}
        if isinstance(encoder, Encoder):
            widths["encoder"], levels["encoder"] = encoder.hidden_dim, encoder.num_levels
        for name, width in widths.items():
            if width != hidden_dim:
                raise ValueError(f"{name}.hidden_dim must equal model.body.hidden_dim {hidden_dim}, got {width}")
        for name, count in levels.items():
            if count != len(channels):
                raise ValueError(f"{name}.num_levels must equal neck.num_levels {len(channels)}, got {count}")
        self.encoder = encoder
        self.source = source
        self.decoder = decoder
        head = AnchorHead(hidden_dim, require_int("num_classes", num_classes, low=1) + 1)
        self.heads = nn.ModuleList([head])

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        """The first stage and one stage of the queries; nothing depends on ``targets`` or ``draw``."""
        del targets, draw
        if isinstance(self.encoder, Encoder):
            features = replace(features, maps=self.encoder(features).maps())
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in features.maps], dim=1)  # [B, S, D]
        queries, first = self.source(features, tokens)
        priors = queries.references
        content = self.decoder(
            queries.content, queries.position, in_padded(priors, features), tokens, features.spatial_shapes
        )
        logits, deltas = self.heads[0](content)
        boxes = decode_deltas(priors, deltas, LARGEST_LOG)
        levels, strides = made_of(queries.source, first)
        final = Prediction(
            logits,
            boxes,
            priors,
            features.frame(),
            levels=levels,
            strides=strides,
            code=deltas,
            source=queries.source,
        )
        last = StageKey(MAIN, self.decoder.num_layers - 1)
        return DetectionOutput({StageKey(FIRST): first, last: final}, last)


class AnchorDecoder(nn.Module):
    """Pre-norm layers of deformable cross-attention, self-attention and feed-forward around boxes that stay.

    Source: arXiv:2210.02318 (FQDet), sec. 3, and its release.

    Args:
        hidden_dim: Channels of every token.
        num_levels: Feature levels.
        num_layers: Layers, at least 1.
        num_heads: Attention heads.
        num_points: Sampling points of each head and level.
        ffn_dim: Channels inside the feed-forward block.
    """

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_levels: int,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 1,
        ffn_dim: int = 1024,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        self.num_layers = require_int("num_layers", num_layers, low=1)
        require_int("ffn_dim", ffn_dim, low=1)
        self.layers = nn.ModuleList(
            AnchorDecoderLayer(hidden_dim, num_levels, num_heads, num_points, ffn_dim) for _ in range(num_layers)
        )

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        references: Tensor,
        tokens: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """``[B, Q, D]`` queries after all layers.

        Args:
            content: ``[B, Q, D]``.
            position: ``[B, Q, D]``, added to the normed content wherever attention asks with it.
            references: ``[B, Q, 4]`` ``cxcywh`` boxes relative to the padded images.
            tokens: ``[B, S, D]``, all of which are seen.
            spatial_shapes: ``(height, width)`` of every level.
        """
        around = references[:, :, None].expand(-1, -1, self.num_levels, -1)  # [B, Q, L, 4]
        for layer in self.layers:
            content = layer(content, position, around, tokens, spatial_shapes)
        return content


class AnchorDecoderLayer(Region):
    """Cross-attention, self-attention and feed-forward, each with a norm before it and a residual connection."""

    def __init__(self, hidden_dim: int, num_levels: int, num_heads: int, num_points: int, ffn_dim: int) -> None:
        super().__init__()
        self.cross_attention_norm = nn.LayerNorm(hidden_dim)
        self.cross_attention = DeformableAttention(
            hidden_dim=hidden_dim, num_heads=num_heads, num_levels=num_levels, num_points=num_points
        )
        self.self_attention_norm = nn.LayerNorm(hidden_dim)
        self.self_attention = SelfAttention(hidden_dim=hidden_dim, num_heads=num_heads)
        self.ffn = nn.Sequential(
            OrderedDict(
                norm=nn.LayerNorm(hidden_dim),
                linear1=nn.Linear(hidden_dim, ffn_dim),
                activation=nn.ReLU(),
                linear2=nn.Linear(ffn_dim, hidden_dim),
            )
        )

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        references: Tensor,
        tokens: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """``[B, Q, D]`` content to the same shape; ``references`` are ``[B, Q, L, 4]``."""
        located = self.cross_attention_norm(content) + position
        content = content + self.cross_attention(located, references, tokens, spatial_shapes)
        normed = self.self_attention_norm(content)
        content = content + self.self_attention(normed + position, normed)
        output: Tensor = content + self.ffn(content)
        return output


class AnchorHead(nn.Module):
    """Class logits and box deltas of a query, float32 under autocast too."""

    def __init__(self, hidden_dim: int, num_logits: int) -> None:
        super().__init__()
        self.class_logits = _mlp(hidden_dim, num_logits)
        self.box_deltas = _mlp(hidden_dim, 4)

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, Q, C]`` and ``[B, Q, 4]`` of ``[B, Q, D]``."""
        return self.class_logits(content), self.box_deltas(content)


def _mlp(hidden_dim: int, num_outputs: int) -> nn.Sequential:
    blocks = [
        PreActivated(nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, hidden_dim), skip=skip) for skip in (False, True)
    ]
    return nn.Sequential(*blocks, Float32Linear(hidden_dim, num_outputs))
