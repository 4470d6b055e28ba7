"""The loss of a validation, whatever the batches."""

from collections.abc import Callable, Sequence

import pytest
import torch

from deta.assign import HungarianAssigner, IoUAssigner
from deta.losses import Criterion
from deta.structures import Losses
from deta.training.validation_loss import ValidationLoss
from tests.assign.scenes import random_scene
from tests.losses.criteria import QueryCriterion
from tests.losses.test_criterion import make_output, measure

CRITERIA: dict[str, Callable[[], Criterion]] = {
    "objects": lambda: QueryCriterion(layer_assigner=HungarianAssigner(), proposal_assigner=HungarianAssigner()),
    "positives": lambda: QueryCriterion(
        layer_assigner=IoUAssigner(gamma=None), proposal_assigner=IoUAssigner(gamma=None), normalizer="num_positives"
    ),
}


def add(loss: ValidationLoss, criterion: Criterion, images: Sequence[int]) -> Losses:
    """Add a batch of these images of a random scene."""
    candidates, targets = random_scene(0)
    chosen = list(images)
    boxes, logits = candidates.boxes[chosen], candidates.logits[chosen]
    batch = targets.map(lambda tensor: tensor[chosen])

    losses = measure(criterion, make_output(boxes, logits, with_proposals=True), batch)
    loss.update(losses)
    return losses


@pytest.mark.parametrize("normalizer", CRITERIA)
def test_it_does_not_depend_on_which_images_share_a_batch(normalizer: str) -> None:
    criterion = CRITERIA[normalizer]()
    num_images = len(random_scene(0)[0].boxes)
    assert num_images > 2
    values = []
    for batches in ([range(num_images)], [[k] for k in range(num_images)], [range(1, num_images), [0]]):
        loss = ValidationLoss()
        for batch in batches:
            add(loss, criterion, batch)
        values.append(loss.compute())
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-6)  # sums of float32 in another order


@pytest.mark.parametrize("normalizer", CRITERIA)
def test_of_a_single_batch_it_is_the_loss_of_the_criterion(normalizer: str) -> None:
    criterion = CRITERIA[normalizer]()
    loss = ValidationLoss()
    own = add(loss, criterion, range(len(random_scene(0)[0].boxes)))
    assert loss.compute() == pytest.approx(float(own.total()), rel=1e-6)


def test_reset_forgets_and_nothing_gives_nothing() -> None:
    loss = ValidationLoss()
    assert loss.compute() is None
    add(loss, CRITERIA["objects"](), [0])
    loss.reset()
    assert loss.compute() is None


def test_a_sum_that_nothing_divides_is_the_mean_over_batches() -> None:
    criterion = QueryCriterion(
        layer_assigner=IoUAssigner(gamma=None), proposal_assigner=IoUAssigner(gamma=None), normalizer="none"
    )
    loss = ValidationLoss()
    own = [float(add(loss, criterion, images).total()) for images in ([0, 1], [2], [0])]
    assert loss.compute() == pytest.approx(sum(own) / 3, rel=1e-6)


def test_no_object_divides_by_one() -> None:
    criterion = QueryCriterion(layer_assigner=HungarianAssigner())
    loss = ValidationLoss()
    candidates, targets = random_scene(0)
    empty = targets.map(lambda tensor: torch.zeros_like(tensor))
    output = make_output(candidates.boxes, candidates.logits)
    losses = measure(criterion, output, empty)
    loss.update(losses)
    assert loss.compute() == pytest.approx(float(losses.total()), rel=1e-6)
    assert losses.total() > 0


def test_batches_without_objects_divide_by_one_together() -> None:
    criterion = QueryCriterion(layer_assigner=HungarianAssigner())
    candidates, targets = random_scene(0)
    empty = targets.map(lambda tensor: torch.zeros_like(tensor))
    losses = measure(criterion, make_output(candidates.boxes, candidates.logits), empty)
    loss = ValidationLoss()
    loss.update(losses)
    loss.update(losses)
    assert loss.compute() == pytest.approx(2 * float(losses.total()), rel=1e-6)


def test_a_sum_that_nothing_divides_is_the_mean_over_batches_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    criterion = QueryCriterion(
        layer_assigner=IoUAssigner(gamma=None), proposal_assigner=IoUAssigner(gamma=None), normalizer="none"
    )
    loss = ValidationLoss()
    own = [float(add(loss, criterion, images).total()) for images in ([0, 1], [2])]
    monkeypatch.setattr("deta.training.validation_loss.gather", lambda part: [part, None, part])
    assert loss.compute() == pytest.approx(sum(own) / 2, rel=1e-6)
