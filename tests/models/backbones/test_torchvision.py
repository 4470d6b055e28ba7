"""Backbones from torchvision and timm, and our small one."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from deta.models import Backbone, ConvBackbone, TimmBackbone, TorchvisionBackbone
from deta.models.backbones.backbone import freeze_batch_norms

SQUEEZE_NODES = ("features.5", "features.10", "features.12")


def resnet18(**options: object) -> TorchvisionBackbone:
    arguments = {"name": "resnet18", "return_nodes": ["layer2", "layer3", "layer4"]} | options
    return TorchvisionBackbone(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(lambda: resnet18(), id="resnet18"),
        pytest.param(lambda: TorchvisionBackbone(name="squeezenet1_0", return_nodes=SQUEEZE_NODES), id="squeezenet"),
        pytest.param(lambda: TimmBackbone(name="resnet10t", out_indices=(2, 3)), id="timm"),
        pytest.param(lambda: ConvBackbone(channels=(8, 12)), id="convnet"),
    ],
)
def test_channels_and_strides_are_those_of_the_maps(backbone: "type[Backbone]") -> None:
    network = backbone()
    maps = network(torch.zeros(1, 3, 256, 256))
    assert tuple(feature.shape[1] for feature in maps) == network.channels
    for feature, stride in zip(maps, network.strides, strict=True):
        assert 256 / stride - 2 <= feature.shape[2] <= 256 / stride


def test_squeezenet_has_strides_4_8_16() -> None:
    assert TorchvisionBackbone(name="squeezenet1_0", return_nodes=SQUEEZE_NODES).strides == (4, 8, 16)


def test_frozen_norms_ignore_training_mode() -> None:
    backbone = resnet18().train()
    image = torch.randn(2, 3, 64, 64)
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    trained = backbone(image)
    evaluated = backbone.eval()(image)
    assert all(torch.equal(a, b) for a, b in zip(trained, evaluated, strict=True))
    assert all(torch.equal(buffer, before[name]) for name, buffer in backbone.named_buffers())


def test_frozen_norm_computes_what_the_norm_computes_in_evaluation() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(4, eps=1e-3))
    network(torch.randn(8, 4, 3, 3) * 3 + 1)  # gather statistics
    image = torch.randn(2, 4, 3, 3)
    expected = network.eval()(image)
    freeze_batch_norms(network)
    assert isinstance(network[0], FrozenBatchNorm2d)
    torch.testing.assert_close(network(image), expected)


def test_norms_keep_all_or_their_statistics_or_nothing_in_training() -> None:
    image = torch.randn(2, 3, 64, 64)
    for frozen_norm, has_counters, stays in ((True, False, True), ("statistics", True, True), (False, True, False)):
        backbone = resnet18(frozen_norm=frozen_norm).train()
        before = backbone.body.get_buffer("bn1.running_mean").clone()
        backbone(image)
        assert torch.equal(backbone.body.get_buffer("bn1.running_mean"), before) == stays
        assert ("body.bn1.num_batches_tracked" in backbone.state_dict()) == has_counters
        assert any(".bn1." in name for name, _ in backbone.named_parameters()) == has_counters


def test_another_choice_of_norms_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.frozen_norm must be true, false or statistics, got 'affine'"):
        resnet18(frozen_norm="affine")


def test_eps_of_norms_is_that_of_the_network_or_the_one_given() -> None:
    assert {norm.eps for norm in resnet18().modules() if isinstance(norm, FrozenBatchNorm2d)} == {1e-5}
    assert {norm.eps for norm in resnet18(norm_eps=0).modules() if isinstance(norm, FrozenBatchNorm2d)} == {0}


def test_strides_inside_a_block_are_those_of_each_backbone_of_a_process() -> None:
    nodes = ["layer3.0.conv1", "layer4.0.conv1"]
    found = [
        TorchvisionBackbone(name="resnet50", return_nodes=nodes, stride_first=is_first).strides
        for is_first in (False, True, False)
    ]
    assert found == [(8, 16), (16, 32), (8, 16)]


def test_the_first_convolution_of_a_bottleneck_may_halve_the_map() -> None:
    backbone = resnet18(name="resnet50", stride_first=True)
    for name, stride in (
        ("layer2.0.conv1", 2),
        ("layer2.0.conv2", 1),
        ("layer2.0.downsample.0", 2),
        ("layer2.1.conv1", 1),
    ):
        convolution = backbone.body.get_submodule(name)
        assert isinstance(convolution, torch.nn.Conv2d)
        assert convolution.stride == (stride, stride)
    assert backbone.strides == (8, 16, 32)
    assert backbone.state_dict().keys() == resnet18(name="resnet50").state_dict().keys()
    with pytest.raises(ValueError, match=r"backbone\.stride_first=true needs a ResNet"):
        TorchvisionBackbone(name="squeezenet1_0", return_nodes=SQUEEZE_NODES, stride_first=True)
    with pytest.raises(ValueError, match=r"backbone\.stride_first=true needs bottlenecks, .*resnet50"):
        resnet18(stride_first=True)


def test_only_the_named_parts_are_frozen() -> None:
    backbone = resnet18(frozen=("conv1", "layer1"))
    trained = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}


def test_frozen_prefix_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter starts with 'stem'"):
        resnet18(frozen=("stem",))


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.name.*'resnet19'"):
        resnet18(name="resnet19")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_of_the_whole_network_are_read_from_a_file(tmp_path: Path, suffix: str) -> None:
    network = get_model("resnet18", weights=None)
    path = tmp_path / f"weights.{suffix}"
    _save(network.state_dict(), path)
    backbone = resnet18(weights=str(path))
    assert torch.equal(backbone.body.get_parameter("layer4.1.conv2.weight"), network.layer4[1].conv2.weight)
    image = torch.randn(1, 3, 64, 64)
    stem = network.eval().maxpool(network.relu(network.bn1(network.conv1(image))))
    torch.testing.assert_close(backbone(image)[0], network.layer2(network.layer1(stem)))


def test_file_that_lacks_or_adds_a_key_is_refused_by_name(tmp_path: Path) -> None:
    state = get_model("resnet18", weights=None).state_dict()
    path = tmp_path / "weights.pth"
    _save({name: tensor for name, tensor in state.items() if name != "layer1.0.conv1.weight"}, path)
    with pytest.raises(ValueError, match=r"weights\.pth.*1 missing: layer1\.0\.conv1\.weight"):
        resnet18(weights=str(path))
    _save({**state, "layer9.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 unexpected: layer9\.weight"):
        resnet18(weights=str(path))
    _save({**state, "conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 of wrong shape: conv1\.weight \(1,\) instead of \(64, 3, 7, 7\)"):
        resnet18(weights=str(path))


def test_unknown_published_weights_are_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="one of DEFAULT, IMAGENET1K_V1, got 'IMAGENET'"):
        resnet18(weights="IMAGENET")


def test_failing_download_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("name not known")

    monkeypatch.setattr("deta.models.backbones.torchvision.get_model", unreachable)
    with pytest.raises(ValueError, match=r"'DEFAULT' of resnet18 cannot be downloaded.*give a file"):
        resnet18(weights="DEFAULT")


def test_missing_file_is_refused_by_path() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pth does not exist"):
        resnet18(weights="nowhere.pth")


def test_published_squeezenet_recognises_its_own_file(shared: Path) -> None:
    path = shared / "weights" / "squeezenet1_0_imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    backbone = TorchvisionBackbone(name="squeezenet1_0", return_nodes=SQUEEZE_NODES, weights=str(path))
    weights = torch.cat([parameter.flatten() for parameter in backbone.parameters()])
    assert weights.eq(0).float().mean() > 0.5  # the pruned network, not a random start


def _save(state: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
