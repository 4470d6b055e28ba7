"""Backbones of torchvision."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.resnet import Bottleneck

from deta.models.backbones.backbone import (
    Backbone,
    EvaluatedNorm,
    batch_counters,
    freeze_batch_norms,
    freeze_parameters,
    set_norm_eps,
)
from deta.models.weights import SUFFIXES, load_strictly, read_state_dict
from deta.utils.checks import require_bool, require_number

STATISTICS = "statistics"
"""What of batch norms may be frozen beside all of them."""


class TorchvisionBackbone(Backbone):
    """A torchvision classification network, cut open at some nodes.

    Args:
        name: Name of the model in torchvision, such as ``resnet50``.
        return_nodes: Feature node of every map, finest first: a list, or a mapping whose keys are nodes.
        weights: State dict file of the whole network (``.safetensors``, ``.pth``), a name of published
            weights such as ``DEFAULT`` or ``IMAGENET1K_V1``, which is downloaded, or None for a random start.
        frozen: Prefixes of parameter names that are not trained.
        frozen_norm: Replace batch norms by fixed scale and shift from their statistics; ``statistics`` fixes those
            alone and trains scale and shift, as mmdetection does. False trains them as batch norms.
        norm_eps: Added to the variances of batch norms, from 0; None leaves what the network has. Weights of RetinaNet
            and Faster R-CNN of torchvision's first versions are run with 0.
        stride_first: Whether bottlenecks of a ResNet halve a map by their first convolution, as the networks of Caffe
            do, instead of the second; weights have the same names.
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
        frozen_norm: bool | str = True,
        norm_eps: float | None = None,
        stride_first: bool = False,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        if name not in list_models():
            raise ValueError(f"backbone.name must be a model of torchvision, got {name!r}")
        path = weights if weights is not None and weights.endswith(SUFFIXES) else None
        for option, is_on in (("dilated", dilated), ("stride_first", stride_first)):
            if require_bool(f"backbone.{option}", is_on) and not name.startswith("resnet"):
                raise ValueError(f"backbone.{option}=true needs a ResNet, got backbone.name={name}")
        options = {"replace_stride_with_dilation": [False, False, True]} if dilated else {}
        network = _torchvision_network(name, None if path else weights, options)
        if stride_first:
            _stride_first(network)
        network_names = set(network.state_dict())
        body = create_feature_extractor(network, {node: node for node in return_nodes})
        if path is not None:
            classifier = network_names - set(body.state_dict())
            load_strictly(
                body, read_state_dict(path), path, may_be_unused=classifier, may_be_missing=batch_counters(body)
            )
        if norm_eps is not None:
            set_norm_eps(body, require_number("backbone.norm_eps", norm_eps, low=0))
        if frozen_norm == STATISTICS:
            freeze_batch_norms(body, kind=EvaluatedNorm)
        elif _is_frozen(frozen_norm):
            freeze_batch_norms(body)
        freeze_parameters(body, frozen)
        self.body = body
        built = name, tuple(return_nodes), dilated, stride_first
        if built not in _MEASURED:
            _MEASURED[built] = _measured(body)
        self.channels, self.strides, self.min_side = _MEASURED[built]

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every return node, in their order."""
        return list(self.body(images).values())


def _is_frozen(frozen_norm: object) -> bool:
    if not isinstance(frozen_norm, bool):
        raise ValueError(f"backbone.frozen_norm must be true, false or {STATISTICS}, got {frozen_norm!r}")
    return frozen_norm


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


def _stride_first(network: nn.Module) -> None:
    """Let the first convolution of every bottleneck halve the map where the second one did.

    Raises:
        ValueError: There is none.
    """
    bottlenecks = [part for part in network.modules() if isinstance(part, Bottleneck)]
    if not bottlenecks:
        raise ValueError("backbone.stride_first=true needs bottlenecks, as of backbone.name=resnet50 and deeper ones")
    for part in bottlenecks:
        part.conv1.stride, part.conv2.stride = part.conv2.stride, part.conv1.stride


_PROBE_SIZE = 512
"""Side of the image without content that measures channels and strides, in pixels."""
Measures = tuple[tuple[int, ...], tuple[int, ...], int]
"""Channels and strides of the maps, and the least side of an image."""
_MEASURED: dict[tuple[str, tuple[str, ...], bool, bool], Measures] = {}
"""By all that shapes follow from: a training makes its detector three times, and to measure it takes as long."""


def _measured(body: nn.Module) -> Measures:
    shapes = _shapes(body, _PROBE_SIZE)
    channels = tuple(shape[1] for shape in shapes)
    strides = tuple(2 ** round(math.log2(_PROBE_SIZE / shape[2])) for shape in shapes)
    return channels, strides, next(side for side in (1, 8, 16, 32, 64, 128, _PROBE_SIZE) if _takes(body, side))


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
