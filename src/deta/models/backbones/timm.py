"""Backbones of timm: any network whose feature maps follow the image."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from deta.models.backbones.backbone import Backbone, batch_counters, freeze_batch_norms, freeze_parameters
from deta.models.weights import read_state_dict, require_fit
from deta.utils.checks import require_bool, require_int

_SIZE_OPTIONS: Sequence[dict[str, Any]] = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})
"""What networks of timm ask for before they take images of other sizes than their own."""
_PROBE_SIDES = (291, 419)
"""Height and width, and width and height, of the images that tell whether maps follow the image: no round numbers."""
_MIN_SIDES = (1, 8, 16, 32, 64, 128, 256, 512)
_MAX_DISTORTION = 1.25
"""Between the proportions of an image and of its maps, whose sides are rounded."""


class TimmBackbone(Backbone):
    """A network of timm that returns feature maps, of images of any size.

    Maps whose channels come last are turned. What a network takes is tried on images without content: one that takes a
    single size, or multiples of some number, is told so (``multiple``) or refused.

    Args:
        name: Name of the model in timm.
        out_indices: Which of its feature levels to return, ascending.
        weights: State dict file of the whole network, True for timm's own pretrained weights, which are
            downloaded, or None for a random start.
        frozen: Prefixes of parameter names that are not trained.
        frozen_norm: Replace batch norms by fixed scale and shift from their statistics.

    Raises:
        ValueError: There is no such network or level, or its maps do not follow the size of the image.
    """

    def __init__(
        self,
        *,
        name: str,
        out_indices: Sequence[int],
        weights: str | bool | None = None,
        frozen: Sequence[str] = (),
        frozen_norm: bool = False,
    ) -> None:
        super().__init__()
        if not _timm().is_model(name):
            raise ValueError(f"backbone.name must be a model of timm, got {name!r}")
        indices = tuple(require_int("backbone.out_indices", index, low=0) for index in out_indices)
        if not indices or sorted(set(indices)) != list(indices):
            raise ValueError(f"backbone.out_indices must name levels in ascending order, got {list(indices)}")
        options, self.multiple, self.min_side = _sides(name, indices)
        if isinstance(weights, str):
            _check_weights(name, weights)
        body = _timm().create_model(
            name,
            features_only=True,
            out_indices=indices,
            pretrained=bool(weights),
            pretrained_cfg_overlay={"file": weights} if isinstance(weights, str) else None,
            **options,
        )
        if require_bool("backbone.frozen_norm", frozen_norm):
            freeze_batch_norms(body)
        freeze_parameters(body, frozen)
        self.body = body
        features: Any = body.feature_info
        self.channels = tuple(features.channels())
        self.strides = tuple(features.reduction())

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every level that is asked for, channels second whatever timm's network returns."""
        return _maps(self.body, images)


def _timm() -> Any:  # noqa: ANN401 - a module without types
    """The package, imported late: that takes seconds and brings wandb along, and few models need it."""
    return import_module("timm")


def _maps(body: nn.Module, images: Tensor) -> list[Tensor]:
    maps = list(body(images))
    if getattr(body, "output_fmt", "NCHW") == "NHWC":  # an enumeration of texts
        maps = [level.permute(0, 3, 1, 2) for level in maps]  # [B, C, h, w]
    return maps


def _sides(name: str, indices: Sequence[int]) -> tuple[dict[str, Any], int, int]:
    """Options, multiple and smallest side under which the maps of a network follow the image."""
    for options in _SIZE_OPTIONS:
        body = _without_content(name, indices, options)
        if body is None:
            continue
        largest = max(body.feature_info.reduction())
        for multiple in (1, *(largest * factor for factor in (1, 2, 4, 7, 8))):
            sides = [(side // multiple | 1) * multiple for side in _PROBE_SIDES]  # odd multiples
            if sides[0] == sides[1]:
                sides[1] += 2 * multiple
            if _follows(body, *sides) and _follows(body, *reversed(sides)):
                tried = (max(1, side // multiple) * multiple for side in _MIN_SIDES)
                return options, multiple, next(side for side in (*tried, max(sides)) if _takes(body, side))
    raise ValueError(
        f"backbone.name: the feature maps of {name} do not follow the size of the image, or it takes images of one "
        "size only; choose another network, such as convnext_tiny or swin_tiny_patch4_window7_224"
    )


def _without_content(name: str, indices: Sequence[int], options: dict[str, Any]) -> Any | None:  # noqa: ANN401 - timm's feature networks share no type
    """The network on the meta device, None if it does not know the options."""
    try:
        with torch.device("meta"):
            return _timm().create_model(name, features_only=True, out_indices=tuple(indices), **options).eval()
    except TypeError:
        if options:
            return None
        raise
    except (IndexError, AssertionError) as error:
        raise ValueError(f"backbone.out_indices: {name} has no levels {list(indices)} ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"backbone.name: {name} of timm gives no feature maps ({error})") from error


def _follows(body: Any, height: int, width: int) -> bool:  # noqa: ANN401 - as above
    """Whether every map has its channels in front and the proportions of the image."""
    shapes = _shapes(body, height, width)
    if shapes is None or len(shapes) != len(body.feature_info.channels()):
        return False
    for shape, channels in zip(shapes, body.feature_info.channels(), strict=True):
        if len(shape) != 4 or shape[1] != channels:
            return False
        distortion = (shape[2] / height) / (shape[3] / width)
        if not 1 / _MAX_DISTORTION < distortion < _MAX_DISTORTION:
            return False
    return True


def _takes(body: Any, side: int) -> bool:  # noqa: ANN401 - as above
    shapes = _shapes(body, side, side)
    return shapes is not None and all(min(shape) > 0 for shape in shapes)


def _shapes(body: Any, height: int, width: int) -> list[torch.Size] | None:  # noqa: ANN401 - as above
    """Of the maps of one image, found without computing them; None if the network does not take it."""
    try:
        with torch.no_grad():
            return [level.shape for level in _maps(body, torch.empty(1, 3, height, width, device="meta"))]
    except (RuntimeError, AssertionError, ValueError, IndexError):  # every network refuses in its own way
        return None


def _check_weights(name: str, path: str) -> None:
    """Compare the file with the whole network; timm overlooks differences when it returns feature maps."""
    with torch.device("meta"):
        network = _timm().create_model(name)
    config: Any = network.pretrained_cfg
    classifiers = config.get("classifier", ())
    prefixes = tuple(f"{prefix}." for prefix in ([classifiers] if isinstance(classifiers, str) else classifiers))
    state = read_state_dict(path)
    head = {key for key in {*network.state_dict(), *state} if key.startswith(prefixes)}
    body = {key: value for key, value in state.items() if key not in head}
    require_fit(network, body, path, may_be_missing=head | batch_counters(network))
