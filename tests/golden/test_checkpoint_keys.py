"""Names, shapes and frozen parameters of the published models."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deta.models import Decoder, Detector, Encoder, EncoderProposals, Neck, QueryBody, SwinBackbone, TorchvisionBackbone
from deta.models.query.selection import TopKPerLevel
from deta.models.releases import from_release, to_release

MODELS = ("deta_r50", "deta_swin_l")


@pytest.fixture(scope="module", params=MODELS)
def published(request: pytest.FixtureRequest, golden_dir: Path) -> tuple[Detector, dict[str, Any], dict[str, Any]]:
    """A detector without storage, and the names that the release has for it."""
    with torch.device("meta"):
        backbone = _resnet50() if request.param == "deta_r50" else SwinBackbone()
        detector = _detector(backbone)
    keys = json.loads((golden_dir / f"{request.param}_state_dict_keys.json").read_text())
    groups = json.loads((golden_dir / f"{request.param}_param_groups.json").read_text())
    return detector, keys, groups


def test_state_dict_has_the_published_names_and_shapes(
    published: tuple[Detector, dict[str, Any], dict[str, Any]],
) -> None:
    detector, keys, _ = published
    assert {name: list(tensor.shape) for name, tensor in to_release(detector).items()} == keys


def test_published_names_return_as_ours(published: tuple[Detector, dict[str, Any], dict[str, Any]]) -> None:
    detector, keys, groups = published
    values = {name: torch.full((1,), float(number)) for number, name in enumerate(keys)}
    values |= {copy: values[original] for copy, original in groups["tied_keys"].items()}
    assert set(from_release(values, detector)) == set(detector.state_dict())


def test_the_same_parameters_are_trained(published: tuple[Detector, dict[str, Any], dict[str, Any]]) -> None:
    detector, keys, groups = published
    numbers = {name: torch.full((1,), float(number)) for number, name in enumerate(keys)}
    numbers |= {copy: numbers[original] for copy, original in groups["tied_keys"].items()}
    names = list(keys)
    own_to_release = {own: names[int(number)] for own, number in from_release(numbers, detector).items()}
    aliases = groups["tied_keys"]
    found = {own_to_release[name]: p.requires_grad for name, p in detector.named_parameters()}
    found = {aliases.get(name, name): requires_grad for name, requires_grad in found.items()}
    assert found == {name: group["requires_grad"] for name, group in groups["param_groups"].items()}


def test_parameters_with_their_own_learning_rate_keep_their_names(
    published: tuple[Detector, dict[str, Any], dict[str, Any]],
) -> None:
    detector, _, groups = published
    for marker, release_marker in (("sampling_offsets", "sampling_offsets"), ("backbone.", "backbone.0")):
        own = [name for name, _ in detector.named_parameters() if marker in name]
        assert len(own) == sum(release_marker in name for name in groups["param_groups"])


def _resnet50() -> TorchvisionBackbone:
    return TorchvisionBackbone(name="resnet50", return_nodes=("layer2", "layer3", "layer4"), frozen=("conv1", "layer1"))


def _detector(backbone: nn.Module) -> Detector:
    assert isinstance(backbone, TorchvisionBackbone | SwinBackbone)
    return Detector(
        num_classes=91,
        backbone=backbone,
        neck=partial(Neck, hidden_dim=256, num_levels=5),
        body=partial(
            QueryBody,
            hidden_dim=256,
            encoder=Encoder(hidden_dim=256, num_levels=5),
            source=EncoderProposals(hidden_dim=256, num_classes=91, selection=TopKPerLevel()),
            decoder=Decoder(hidden_dim=256, num_levels=5),
        ),
    )
