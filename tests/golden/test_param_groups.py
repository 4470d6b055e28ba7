"""Learning rate of every parameter of the published models."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.models import (
    Backbone,
    Decoder,
    Detector,
    Encoder,
    EncoderProposals,
    Neck,
    QueryBody,
    SwinBackbone,
    TorchvisionBackbone,
)
from deta.models.query.selection import TopKPerLevel
from deta.models.releases import from_release
from deta.training.optim import parameter_groups

LR_FACTORS = {"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1}


def resnet50() -> TorchvisionBackbone:
    return TorchvisionBackbone(name="resnet50", return_nodes=("layer2", "layer3", "layer4"), frozen=("conv1", "layer1"))


def detector(backbone: Backbone) -> Detector:
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


def published_names(model: Detector, names: list[str], aliases: dict[str, str]) -> dict[str, str]:
    """Name of every parameter of ours in the list of the release; heads that it stores twice have one there."""
    numbers = {name: torch.tensor([float(number)]) for number, name in enumerate(names)}
    numbers |= {copy: numbers[original] for copy, original in aliases.items()}
    found = {own: names[int(number)] for own, number in from_release(numbers, model).items()}
    return {own: aliases.get(name, name) for own, name in found.items()}


@pytest.mark.parametrize(
    ("name", "make_backbone", "lr"),
    [("deta_r50", resnet50, 2e-4), ("deta_swin_l", SwinBackbone, 5e-5)],
    ids=["deta_r50", "deta_swin_l"],
)
def test_every_parameter_learns_at_the_rate_of_the_release(
    name: str,
    make_backbone: Any,  # noqa: ANN401
    lr: float,
    golden_dir: Path,
) -> None:
    reference = json.loads((golden_dir / f"{name}_param_groups.json").read_text())
    keys = json.loads((golden_dir / f"{name}_state_dict_keys.json").read_text())
    with torch.device("meta"):
        model = detector(make_backbone())
    release_names = published_names(model, list(keys), reference["tied_keys"])
    names = {id(parameter): release_names[own] for own, parameter in model.named_parameters()}
    groups = parameter_groups(model.named_parameters(), lr=lr, lr_factors=LR_FACTORS)
    found = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
    expected = reference["param_groups"]
    assert found == pytest.approx({key: entry["lr"] for key, entry in expected.items() if entry["requires_grad"]})
    assert set(names.values()) - set(found) == {key for key, entry in expected.items() if not entry["requires_grad"]}
