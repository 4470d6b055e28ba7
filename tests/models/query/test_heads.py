"""Prediction heads."""

import torch

from deta.models.query.heads import PredictionHead


def head() -> PredictionHead:
    torch.manual_seed(0)
    return PredictionHead(hidden_dim=16, num_classes=3)


def test_classes_start_at_a_probability_of_one_percent() -> None:
    probability = head().logits(torch.zeros(1, 1, 16)).sigmoid()
    torch.testing.assert_close(probability, torch.full((1, 1, 3), 0.01))


def test_boxes_start_at_their_reference() -> None:
    reference = torch.rand(2, 5, 4)
    torch.testing.assert_close(head().boxes(torch.randn(2, 5, 16), reference.logit()), reference)


def test_point_reference_gives_a_centre_and_the_start_gives_a_small_size() -> None:
    small = head()
    small.start_with_small_boxes()
    box = small.boxes(torch.randn(1, 1, 16), torch.tensor([[[0.2, 0.7]]]).logit())[0, 0]
    torch.testing.assert_close(box, torch.tensor([0.2, 0.7, 0.1192029, 0.1192029]))


def test_infinite_reference_gives_exactly_one_and_no_gradient() -> None:
    trained = head()
    with torch.no_grad():
        trained.box_deltas.last.weight.normal_()
    boxes = trained.boxes(torch.randn(1, 1, 16), torch.full((1, 1, 4), torch.inf))
    boxes.sum().backward()
    assert boxes.eq(1).all()
    assert trained.box_deltas.last.weight.grad is not None
    assert trained.box_deltas.last.weight.grad.eq(0).all()


def test_predictions_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = torch.randn(1, 2, 16).bfloat16()
        assert head().logits(tokens).dtype == torch.float32
        assert head().boxes(tokens, torch.zeros(1, 2, 4)).dtype == torch.float32
