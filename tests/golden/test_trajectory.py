"""Five optimizer steps against the reference implementation."""

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.assign import Draw
from deta.models.releases import to_release
from deta.training.optim import parameter_groups
from tests.golden.detectors import reference_detector
from tests.golden.scenes import case_targets
from tests.golden.test_criterion import entry, make_criterion

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("trajectory")
def test_training_steps_equal_reference(case: "ReferenceCase") -> None:
    config = case.config
    source = case.other(_source(config["state_and_features_from"]))
    detector = reference_detector(source).train()
    features = [source.inputs[f"feature_{k}"] for k in range(len(config["backbone_channels"]))]
    criterion, targets = make_criterion(config), case_targets(case)
    factor = config["lr_linear_proj_mult"]
    factors = {
        "backbone": config["lr_backbone"] / config["lr"],
        "sampling_offsets": factor,
        "reference_points": factor,
    }
    optimizer = torch.optim.AdamW(
        parameter_groups(detector.named_parameters(), lr=config["lr"], lr_factors=factors),
        weight_decay=config["weight_decay"],
    )
    start = {name: value.clone() for name, value in to_release(detector).items()}
    found: dict[str, list[Tensor]] = defaultdict(list)
    for step in range(config["steps"] + 1):
        output = detector.forward_maps(features, source.inputs["mask"])
        losses = criterion(output, targets, Draw.of(0))
        found["total"].append(losses.total().detach())
        if step == config["steps"]:
            break
        for name in case.outputs:
            if name.startswith("loss/"):
                found[name].append(entry(name.removeprefix("loss/"), losses, output, targets))
        optimizer.zero_grad()
        losses.total().backward()
        norm = torch.nn.utils.clip_grad_norm_(detector.parameters(), config["clip_max_norm"])
        found["grad_norm"].append(norm.detach())
        optimizer.step()
    _assert_series(case, found)
    _assert_weights(case, start, to_release(detector))


def _assert_series(case: "ReferenceCase", found: dict[str, list[Tensor]]) -> None:
    for name, values in found.items():
        rtol, atol = (1e-2, 0.0) if name == "grad_norm" else (1e-4, 1e-5)
        torch.testing.assert_close(torch.stack(values), case.outputs[name], rtol=rtol, atol=atol)


def _assert_weights(case: "ReferenceCase", start: dict[str, Tensor], end: dict[str, Tensor]) -> None:
    for name, expected in case.outputs.items():
        if name.startswith("final/"):
            torch.testing.assert_close(end[name.removeprefix("final/")], expected, rtol=0, atol=2e-5)
    names = case.config["delta_l2_names"]
    change = torch.stack([(end[name] - start[name]).norm() for name in names])
    torch.testing.assert_close(change, case.outputs["delta_l2"], rtol=1e-2, atol=0)


def _source(reference: str) -> tuple[str, str]:
    """``<file> (case <name>)`` as file and case."""
    file, _, name = reference.partition(" (case ")
    return file, name.removesuffix(")")
