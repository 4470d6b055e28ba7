"""A training step of every system, and gradients of its detector, against its reference."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.building.build import make
from deta.losses import Criterion
from deta.models import Detector
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Targets
from tests.golden.scenes import case_targets
from tests.systems.detectors import composed, published_names, reference_detector
from tests.systems.draws import recorded_draws
from tests.systems.rules import FAMILY
from tests.systems.scenes import Scene, assert_losses

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

QUERY_SYSTEMS = (*FAMILY, "dn_deformable_detr_encoder_only")


@pytest.mark.reference("model", "model_train", systems=QUERY_SYSTEMS, trains=True)
def test_a_training_step_equals_the_reference(case: "ReferenceCase") -> None:
    detector, targets, maps = reference_detector(case), case_targets(case), feature_maps(case)
    output = forward(detector, case, maps, targets)
    found, compared = named_outputs(output, case), 0
    for name in sorted(set(found) & set(case.outputs)):
        torch.testing.assert_close(found[name].detach(), case.outputs[name], rtol=1e-4, atol=5e-5, msg=f"{name}: {{}}")
        compared += 1
    assert compared >= 2
    if "total" not in case.outputs:
        return
    criterion: Criterion = make(composed(case.config)["criterion"])
    losses = criterion(output, targets, Draw.of(0))
    assert_losses(case, losses, Scene.of_output(case, output, targets))
    total = losses.total()
    torch.testing.assert_close(total.detach(), case.outputs["total"], rtol=1e-5, atol=1e-5)
    assert_gradients(total, detector, maps, case)


@pytest.mark.reference("model_gradients", systems=QUERY_SYSTEMS)
def test_gradients_equal_the_reference(case: "ReferenceCase") -> None:
    detector, maps = reference_detector(case), feature_maps(case)
    targets = case_targets(case) if "boxes" in case.inputs else None
    found = named_outputs(forward(detector, case, maps, targets), case)
    cotangents = {name.removeprefix("cotangent_"): part for name, part in case.inputs.items() if "cotangent_" in name}
    total = torch.stack([(found[name] * part).sum() for name, part in cotangents.items()]).sum()
    torch.testing.assert_close(total.detach(), case.outputs["total"], rtol=1e-3, atol=1e-4)
    assert_gradients(total, detector, maps, case)


def feature_maps(case: "ReferenceCase") -> list[Tensor]:
    """Leaves."""
    count = len(case.config["backbone_channels"])
    return [case.inputs[f"feature_{index}"].clone().requires_grad_() for index in range(count)]


def forward(detector: Detector, case: "ReferenceCase", maps: list[Tensor], targets: Targets | None) -> DetectionOutput:
    """With the numbers that the reference has drawn."""
    draw = None
    if targets is not None:
        draws = recorded_draws(case, targets)
        draw = Draw(torch.tensor([0]), recorded={f"denoise/{name}": part for name, part in draws.items()})
    return detector.forward_maps(maps, case.inputs["mask"], targets, draw)


def named_outputs(output: DetectionOutput, case: "ReferenceCase") -> dict[str, Tensor]:
    """Every prediction under its names in a case: copies in one array, denoising by layers or all layers in one."""
    last = output.last.layer
    parts: dict[str, list[Tensor]] = {}
    stacked: dict[str, list[Tensor]] = {}
    for key, prediction in output.stages.items():
        suffix = "" if key.layer == last else f"aux{key.layer}_"
        begins = {
            "first": ("enc_", "interm_"),
            "layers": (suffix,),
            "copies": (suffix,),
            "many": (f"one2many_{suffix}",),
            "denoise": (f"dn_{suffix}",),
        }
        for part in ("logits", "boxes"):
            values = getattr(prediction, part)
            for begin in begins[key.role]:
                parts.setdefault(f"{begin}pred_{part}", []).append(values)
            if key.role == "denoise":
                stacked.setdefault(f"dn_pred_{part}", []).append(values)
    found = {name: torch.cat(values, dim=1) for name, values in parts.items()}
    if case.config["system"] != "dino":
        found |= {name: torch.stack(values) for name, values in stacked.items()}
    return found


def assert_gradients(total: Tensor, detector: Detector, maps: list[Tensor], case: "ReferenceCase") -> None:
    """Of weights and maps, as far as the case has them."""
    weights = dict(detector.named_parameters())
    found = torch.autograd.grad(total, [*weights.values(), *maps], allow_unused=True, materialize_grads=True)
    of_weights = published_names(detector, case, dict(zip(weights, found, strict=False)))
    of_maps = dict(enumerate(found[len(weights) :]))
    for name, expected in case.outputs.items():
        kind, _, rest = name.partition("/")
        if kind == "grad_state":
            _assert_close(of_weights[rest], expected, case, name)
        elif name.startswith(("grad/feature_", "grad_feature_")):
            _assert_close(of_maps[int(name.rpartition("_")[2])], expected, case, name)
        elif name.startswith("grad_l2_feature_"):
            _assert_close(of_maps[int(name.rpartition("_")[2])].norm(), expected, case, name)
    if "grad_l2" in case.outputs:
        names = case.config["grad_l2_names" if "grad_l2_names" in case.config else "grad_names"]
        norms = torch.stack([of_weights[name].norm() for name in names])
        _assert_close(norms, case.outputs["grad_l2"], case, "grad_l2")


def _assert_close(found: Tensor, expected: Tensor, case: "ReferenceCase", name: str) -> None:
    """By the tolerance of the set."""
    if "kinds" in _conventions(case):
        rtol, atol = 1e-3, 1e-4
    else:
        rtol, atol = 1e-4, float(1e-5 * expected.abs().max() + 5e-5) if expected.numel() else 5e-5
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}")


def _conventions(case: "ReferenceCase") -> Mapping[str, object]:
    """Of the set of dense attention; that of the deformable ones has none."""
    return {"kinds": None} if isinstance(case.config.get("state_from"), list) else {}
