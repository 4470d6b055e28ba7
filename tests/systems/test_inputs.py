"""How pixels enter the dense systems, as their publications give it."""

from collections.abc import Callable

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from deta.building.build import make
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.models import InputConvention

RGB_MEAN, RGB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CAFFE_MEAN = (103.53, 116.28, 123.675)
"""Blue first."""


def normalised(pixels: Tensor) -> Tensor:
    """By mmdetection, of RGB in 0..255."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (RGB_MEAN, RGB_STD))  # [3, 1, 1]
    return (pixels - mean) / std


def centred(pixels: Tensor) -> Tensor:
    """By the networks of Caffe: blue first, less the mean."""
    return pixels.flip(1) - torch.tensor(CAFFE_MEAN).view(3, 1, 1)  # [3, 1, 1]


def untouched(pixels: Tensor) -> Tensor:
    """By YOLOX: blue first, as read."""
    return pixels.flip(1)


CONVENTIONS: dict[tuple[str, ...], tuple[Callable[[Tensor], Tensor], float]] = {
    ("system=retinanet",): (normalised, 0.0),
    ("system=retinanet_v2",): (normalised, 0.0),
    ("system=retinanet", "model=retinanet_mmdet_r50"): (normalised, 0.0),
    ("system=fcos",): (normalised, 0.0),
    ("system=fcos", "model=fcos_mmdet_r50"): (centred, 0.0),
    ("system=atss",): (normalised, 0.0),
    ("system=gfl",): (normalised, 0.0),
    ("system=tood",): (normalised, 0.0),
    ("system=centernet",): (normalised, 0.0),
    ("system=centernet", "model=centernet_r18"): (normalised, 0.0),
    ("system=faster_rcnn",): (normalised, 0.0),
    ("system=faster_rcnn_v2",): (normalised, 0.0),
    ("system=tsp_rcnn",): (normalised, 0.0),
    ("system=tsp_rcnn", "model=tsp_rcnn_caffe_r50"): (centred, 0.0),
    ("system=yolox",): (normalised, 0.0),
    ("system=yolox", "model=yolox_s"): (untouched, 114.0),
    ("system=yolox", "model=yolox_l"): (untouched, 114.0),
}
"""What pixels of RGB in 0..255 become, and what padding has; YOLOX on ResNet-50 has the pixels of that."""


@pytest.mark.parametrize("words", CONVENTIONS, ids=" ".join)
def test_pixels_enter_as_published_and_sides_are_padded_to_multiples_of_32(words: tuple[str, ...]) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        convention = make(compose("train", [*words, "name=test", "run_dir=none"]).model.input)
    assert isinstance(convention, InputConvention)
    expected, padding = CONVENTIONS[words]
    pixels = torch.randint(0, 256, (1, 3, 33, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    size = (convention.padded_side(33), convention.padded_side(20))
    assert size == (64, 32)
    found, is_padding = convention(pixels, torch.zeros(1, 33, 20, dtype=torch.bool), size)
    torch.testing.assert_close(found[:, :, :33, :20], expected(pixels.float()), rtol=1e-5, atol=1e-5)
    assert set(found[is_padding[:, None].expand_as(found)].tolist()) == {padding}
