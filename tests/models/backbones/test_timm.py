"""Networks of timm: their maps follow images of any size, or they are refused."""

from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from deta.models import TimmBackbone
from tests.models.tiny import images, tiny_detector

SWIN = "swin_tiny_patch4_window7_224"


@cache
def network(name: str, indices: tuple[int, ...]) -> TimmBackbone:
    """One for all tests, which do not change it."""
    return TimmBackbone(name=name, out_indices=indices).eval()


@pytest.mark.parametrize(
    ("name", "indices", "strides"),
    [
        pytest.param(SWIN, (0, 1), (4, 8), id="channels last, one size by default"),
        pytest.param("mambaout_femto", (0, 1), (4, 8), id="channels last"),
        pytest.param("test_vit", (0,), (16,), id="multiples of a patch"),
        pytest.param("test_convnext", (1, 2), (8, 16), id="channels first"),
    ],
)
@pytest.mark.parametrize("size", [(70, 133), (133, 70)])
def test_maps_have_channels_in_front_and_follow_an_odd_size(
    name: str, indices: tuple[int, ...], strides: tuple[int, ...], size: tuple[int, int]
) -> None:
    backbone = network(name, indices)
    height, width = (backbone.padded_side(side) for side in size)
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, height, width))
    assert backbone.strides == strides
    for level, stride, channels in zip(maps, strides, backbone.channels, strict=True):
        assert level.shape[1] == channels
        assert abs(level.shape[2] - height / stride) < 1
        assert abs(level.shape[3] - width / stride) < 1


@pytest.mark.parametrize("name", ["mambaout_femto", SWIN])
def test_an_image_on_its_side_gives_maps_on_their_side(name: str) -> None:
    backbone = network(name, (0, 1))
    spot = torch.zeros(1, 3, 64, 128)
    spot[..., :16, 112:] = 1.0  # top right
    with torch.no_grad():
        change = (backbone(spot)[0] - backbone(torch.zeros_like(spot))[0]).abs().sum(1)[0]
    row, column = divmod(int(change.argmax()), change.shape[1])
    assert row < change.shape[0] / 2
    assert column > change.shape[1] / 2


def test_a_detector_pads_images_to_what_the_network_takes() -> None:
    detector = tiny_detector()
    detector.backbone.multiple = 48
    seen: list[torch.Size] = []
    detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    output = detector(*images(48, 80))
    assert seen == [(48, 96)]
    assert output.final.boxes.isfinite().all()


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "crossvit_tiny_240"])
def test_maps_that_do_not_follow_the_image_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"backbone\.name: the feature maps of {name} do not follow the size"):
        TimmBackbone(name=name, out_indices=(0,))


def test_unknown_names_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.name.*'resnet19'"):
        TimmBackbone(name="resnet19", out_indices=(1,))
    with pytest.raises(ValueError, match=r"backbone\.out_indices: test_resnet has no levels \[9\]"):
        TimmBackbone(name="test_resnet", out_indices=(9,))
    for indices in ((), (2, 1), (2, 2)):
        with pytest.raises(ValueError, match=r"backbone\.out_indices must name levels in ascending order"):
            TimmBackbone(name="test_resnet", out_indices=indices)


def test_timm_reads_a_file_strictly(tmp_path: Path) -> None:
    whole = timm.create_model("resnet10t")
    path = tmp_path / "weights.safetensors"
    save_file(whole.state_dict(), path)
    backbone = TimmBackbone(name="resnet10t", out_indices=(2, 3), weights=str(path))
    expected = whole.get_parameter("layer3.0.conv1.weight")
    assert torch.equal(backbone.body.get_parameter("layer3.0.conv1.weight"), expected)
    save_file({name: tensor for name, tensor in whole.state_dict().items() if "layer2" not in name}, path)
    with pytest.raises(ValueError, match=r"missing: layer2"):
        TimmBackbone(name="resnet10t", out_indices=(2, 3), weights=str(path))
