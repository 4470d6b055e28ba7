"""Backbones of torchvision."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.feature_extraction import create_feature_extractor

from deta.models.backbones.backbone import Backbone, batch_counters, freeze_batch_norms, freeze_parameters
from deta.models.weights import SUFFIXES, load_strictly, read_state_dict
from deta.utils.checks import require_bool


class TorchvisionBackbone(Backbone):
    """A torchvision classification network, cut open at some nodes.

    Args:
        name: Name of the model in torchvision, such as ``resnet50``.
        return_nodes: Feature node of every map, finest first: a list, or a mapping whose keys are nodes.
        weights: State dict file of the whole network (``.safetensors``, ``.pth``), a name of published
            weights such as ``DEFAULT`` or ``IMAGENET1K_V1``, which is downloaded, or None for a random start.
        frozen: Prefixes of parameter names that are not trained.
        frozen_norm: Replace batch norms by fixed scale and shift from their statistics.
        dilated: Whether the last stage of a ResNet dilates its convolutions instead of halving the map (DC5 of
            arXiv:2005.12872, sec. 4); weights stay the same.
    """

    def __init__(
        self,
        *,
        name: str,
        return_nodes: Sequence[str] | Mapping[str, object],
        weights: str | None = None,
        frozen: Sequence[str] = (),
        frozen_norm: bool = True,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        if name not in list_models():
            raise ValueError(f"backbone.name must be a model of torchvision, got {name!r}")
        path = weights if weights is not None and weights.endswith(SUFFIXES) else None
        options: dict[str, object] = {}
        if require_bool("backbone.dilated", dilated):
            if not name.startswith("resnet"):
                raise ValueError(f"backbone.dilated=true needs a ResNet, got backbone.name={name}")
            options["replace_stride_with_dilation"] = [False, False, True]
        network = _torchvision_network(name, None if path else weights, options)
        network_names = set(network.state_dict())
        body = create_feature_extractor(network, {node: node for node in return_nodes})
        if path is not None:
            classifier = network_names - set(body.state_dict())
            load_strictly(
                body, read_state_dict(path), path, may_be_unused=classifier, may_be_missing=batch_counters(body)
            )
        if require_bool("backbone.frozen_norm", frozen_norm):
            freeze_batch_norms(body)
        freeze_parameters(body, frozen)
        self.body = body
        shapes = _shapes(body, _PROBE_SIZE)
        self.min_side = next(side for side in (1, 8, 16, 32, 64, 128, _PROBE_SIZE) if _takes(body, side))
        self.channels = tuple(shape[1] for shape in shapes)
        self.strides = tuple(2 ** round(math.log2(_PROBE_SIZE / shape[2])) for shape in shapes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every return node, in their order."""
        return list(self.body(images).values())


def _torchvision_network(name: str, weights: str | None, options: Mapping[str, object]) -> nn.Module:
    if weights is not None:
        published = sorted(get_model_weights(name).__members__)
        if weights not in published:
            raise ValueError(
                f"backbone.weights must be a file ({', '.join(SUFFIXES)}) or one of {', '.join(published)}, "
                f"got {weights!r}"
            )
    try:
        network: nn.Module = get_model(name, weights=weights, **options)
    except OSError as error:
        raise ValueError(
            f"backbone.weights {weights!r} of {name} cannot be downloaded ({error}); give a file, or null for a "
            "random start"
        ) from error
    return network


_PROBE_SIZE = 512
"""Side of the image without content that measures channels and strides, in pixels."""


def _takes(body: nn.Module, side: int) -> bool:
    try:
        _shapes(body, side)
    except RuntimeError:  # a map would have no pixel
        return False
    return True


def _shapes(body: nn.Module, side: int) -> list[torch.Size]:
    """Shapes of the maps of one square image, found without computing them."""
    state = {name: tensor.to("meta") for name, tensor in (*body.named_parameters(), *body.named_buffers())}
    image = torch.empty(1, 3, side, side, device="meta")
    was_training = body.training
    body.eval()
    try:
        maps = torch.func.functional_call(body, state, (image,))
    finally:
        body.train(was_training)
    return [feature.shape for feature in maps.values()]
