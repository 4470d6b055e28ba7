"""Overlap, focal loss and the inverse sigmoid against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, sigmoid_focal_loss

from deta.ops.iou import pairwise_giou, pairwise_iou
from deta.ops.logit import inverse_sigmoid

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


def assert_close(found: Tensor | None, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.golden("box_ops")
def test_overlaps_equal_reference(case: "ReferenceCase") -> None:
    first, second = (box_convert(case.inputs[name], "cxcywh", "xyxy") for name in "ab")
    assert_close(first, case.outputs["a_xyxy"])
    assert_close(pairwise_iou(first, second), case.outputs["iou"])
    assert_close(pairwise_giou(first, second), case.outputs["giou"])


@pytest.mark.golden("box_ops")
def test_inverse_sigmoid_equals_reference(case: "ReferenceCase") -> None:
    found = inverse_sigmoid(case.inputs["x"], eps=case.config["eps"])
    assert_close(found, case.outputs["inverse_sigmoid"])


@pytest.mark.golden("focal")
def test_focal_loss_equals_reference(case: "ReferenceCase") -> None:
    logits = case.inputs["logits"].clone().requires_grad_()
    alpha, gamma = case.config["alpha"], case.config["gamma"]
    loss = sigmoid_focal_loss(logits, case.inputs["targets"], alpha=alpha, gamma=gamma)
    loss = loss.mean(1).sum() / case.config["num_boxes"]
    loss.backward()
    assert_close(loss.detach(), case.outputs["loss"])
    assert_close(logits.grad, case.outputs["grad"])
