"""Losses, gradients and assignments of the published systems, each a composition of rules and terms."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from deta.assign import Draw, GivenAssigner
from deta.losses import Criterion, CrossEntropy, FocalLoss, GIoULoss, L1Loss, Rule, Term
from tests.systems.rules import FAMILY, box_eps, hungarian
from tests.systems.scenes import Scene, assert_losses

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.reference("criterion", systems=FAMILY)
def test_losses_equal_the_reference(case: "ReferenceCase") -> None:
    scene = Scene.of(case)
    losses = make_criterion(case.config, scene)(scene.output, scene.targets, Draw.of(0))
    total = losses.total()
    gradients = torch.autograd.grad(total, list(scene.leaves.values()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(total.detach(), case.outputs["total"], rtol=1e-5, atol=1e-6)
    for name, gradient in zip(scene.leaves, gradients, strict=True):
        if f"grad/{name}" in case.outputs:
            torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=1e-6)
    assert_losses(case, losses, scene)


def make_criterion(config: Mapping[str, Any], scene: Scene) -> Criterion:
    """The rules of a system."""
    eps = box_eps(config)
    weights = {"class": config["cls_loss_coef"], "l1": config["bbox_loss_coef"], "giou": config["giou_loss_coef"]}
    classes: Term = FocalLoss(weight=weights["class"], alpha=config.get("focal_alpha", 0.25))
    if config["system"] == "detr":
        classes = CrossEntropy(weight=weights["class"], background_weight=config["eos_coef"])
    terms: dict[str, Any] = {
        "class_terms": {"class": classes},
        "box_terms": {"l1": L1Loss(weight=weights["l1"]), "giou": GIoULoss(weight=weights["giou"], eps=eps)},
        "ignore_coverage": None,
    }
    layers = Rule(hungarian(config), rematch="per_layer", **terms)
    is_contrastive = config["system"] == "dino"
    given: dict[str, Any] = (
        {"per_object": "mean"} if is_contrastive else {"normalizer": "num_positives", "is_global": False}
    )
    rules = {
        "first": replace(layers, sees="objects" if config["system"] in ("hdetr", "deformable") else "classes"),
        "layers": layers,
        "copies": replace(layers, pool="layers"),
        "many": replace(layers, repeat=config.get("k_one2many", 1), weight=config.get("lambda_one2many", 1.0)),
        "denoise": Rule(GivenAssigner(), **terms, **given),
    }
    roles = {key.role for key in scene.output.stages}
    return Criterion({role: rule for role, rule in rules.items() if role in roles})
