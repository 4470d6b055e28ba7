"""Scores of classes."""

import math
from dataclasses import replace

import pytest
import torch

from deta.structures import Prediction, QualityScore, SigmoidScore, SoftmaxScore


def prediction(*logits: float) -> Prediction:
    boxes = torch.zeros(1, 1, 4)
    return Prediction(torch.tensor([[logits]]), boxes, boxes)


def test_a_softmax_leaves_its_last_output_out_but_counts_it() -> None:
    score = SoftmaxScore()(prediction(math.log(3), 0.0, 0.0)).sigmoid()
    assert score.flatten().tolist() == pytest.approx([3 / 5, 1 / 5])


@pytest.mark.parametrize("size", [30.0, 200.0])
def test_softmax_scores_near_0_and_1_are_numbers_and_keep_their_order(size: float) -> None:
    sure, unsure = (SoftmaxScore()(prediction(*row)) for row in ((size, 0.0, 1.0), (-size, -size / 2, 0.0)))
    assert sure.sigmoid().flatten().tolist() == pytest.approx([1, 0], abs=1e-6)
    assert unsure.flatten().tolist() == pytest.approx([-size, -size / 2], rel=1e-5)


def test_a_sigmoid_takes_outputs_as_they_are_and_leaves_a_background_out() -> None:
    assert SigmoidScore()(prediction(1.0, -2.0)).tolist() == [[[1.0, -2.0]]]
    assert SigmoidScore(has_background=True)(prediction(1.0, -2.0)).tolist() == [[[1.0]]]


@pytest.mark.parametrize("root", [False, True])
def test_a_quality_is_a_factor_of_every_score(*, root: bool) -> None:
    with_quality = replace(prediction(math.log(3), 0.0), quality=torch.tensor([[math.log(1 / 4)]]))
    score = QualityScore(root=root)(with_quality).sigmoid()
    expected = [3 / 4 / 5, 1 / 2 / 5]
    assert score.flatten().tolist() == pytest.approx([math.sqrt(p) if root else p for p in expected], rel=1e-5)


@pytest.mark.parametrize("size", [30.0, 120.0, 1e4])
@pytest.mark.parametrize("root", [False, True])
def test_products_near_0_and_1_are_numbers_with_gradients(size: float, *, root: bool) -> None:
    logits = torch.tensor([[[size, -size]]], requires_grad=True)
    boxes = torch.zeros(1, 1, 4)
    sure, unsure = QualityScore(root=root)(Prediction(logits, boxes, boxes, quality=torch.tensor([[size]]))).unbind(-1)
    assert torch.stack((sure, unsure)).sigmoid().flatten().tolist() == pytest.approx([1, 0], abs=1e-6)
    (sure + unsure).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad > 0).all()
