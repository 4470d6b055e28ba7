"""A rule that changes with the epochs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters  # the only place that tells how many graphs there are

from deta.assign import Draw, IoUAssigner
from deta.losses import Criterion, FocalLoss, GIoULoss, L1Loss, Rule, Until
from deta.structures import DetectionOutput, Losses, Prediction, StageKey
from deta.training.accumulation import require_one_divisor
from tests.assign.scenes import frame, objects

KEY = StageKey("layers", 0)
CENTRE, BESIDE = (0.5, 0.5, 0.2, 0.2), (0.54, 0.5, 0.2, 0.2)
FIRST = Rule(IoUAssigner(tau=0.9, gamma=None), {"class": FocalLoss()}, {"l1": L1Loss()})
THEN = Rule(
    IoUAssigner(tau=0.5, gamma=None), {"class": FocalLoss()}, {"l1": L1Loss(), "giou": GIoULoss()}, rematch="per_layer"
)
CHANGE = 4


def until(**changes: Any) -> Until:  # noqa: ANN401
    """``FIRST`` for ``CHANGE`` epochs, then ``THEN``."""
    options = {**vars(THEN), "epoch": CHANGE, "first": FIRST, **changes}
    return Until(**options)


def measured(criterion: Criterion, epoch: int) -> Losses:
    """Losses of two candidates, one of which is an object exactly."""
    boxes = torch.tensor([[CENTRE, BESIDE]])
    stage = Prediction(torch.zeros(1, 2, 2), boxes + 0.01, boxes, frame=frame(1))
    return criterion(DetectionOutput({KEY: stage}, KEY), objects([CENTRE]), Draw.of(0, epoch=epoch))


@pytest.mark.parametrize("epoch", [0, CHANGE - 1, CHANGE, CHANGE + 9])
def test_the_epoch_decides_which_rule_it_is(epoch: int) -> None:
    criterion, expected = Criterion({"layers": until()}), Criterion({"layers": FIRST if epoch < CHANGE else THEN})
    alone = measured(expected, epoch)
    for found in (measured(criterion, epoch), measured(criterion.at(Draw.of(0, epoch=epoch)), 0)):
        assert found.names == alone.names
        assert torch.equal(found.terms(), alone.terms())
        assert torch.equal(found.matches_of(KEY).classes.target, alone.matches_of(KEY).classes.target)
    assert len(alone.names) == (2 if epoch < CHANGE else 3)


def test_a_criterion_that_does_not_change_is_its_own_in_every_epoch() -> None:
    criterion = Criterion({"layers": THEN})
    assert criterion.at(Draw.of(0, epoch=7)) is criterion
    assert until().then == THEN
    assert until() == replace(until())


def test_both_rules_are_checked() -> None:
    with pytest.raises(ValueError, match=r"has on='first', but there are rules for layers alone"):
        Criterion({"layers": until(first=replace(FIRST, on="first"))})
    with pytest.raises(
        ValueError, match=r"criterion\.rules\.layers\.normalizer=images .* num_batches|normalizer=images"
    ):
        require_one_divisor(Criterion({"layers": until(first=replace(FIRST, normalizer="images"))}), 2)
    with pytest.raises(ValueError, match=r"epoch must be at least 1, got 0"):
        until(epoch=0)
    with pytest.raises(ValueError, match=r"first must be a Rule, got None"):
        until(first=None)


@pytest.mark.slow
def test_a_compiled_step_is_compiled_anew_once_when_the_rule_changes() -> None:
    torch.compiler.reset()
    counters.clear()
    criterion = Criterion({"layers": until()})

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(criterion: Criterion, boxes: torch.Tensor, draw: Draw) -> torch.Tensor:
        stage = Prediction(boxes[..., :2], boxes + 0.01, boxes, frame=frame(1))
        return criterion(DetectionOutput({KEY: stage}, KEY), targets, draw).terms()

    targets, boxes = objects([CENTRE]), torch.tensor([[CENTRE, BESIDE]])
    counts = []
    for epoch in range(12):
        draw = Draw.of(0, epoch, epoch=epoch)
        assert compiled(criterion.at(draw), boxes, draw).shape == (2 if epoch < CHANGE else 3,)
        counts.append(counters["stats"]["unique_graphs"])
    assert counts == [1] * CHANGE + [2] * (12 - CHANGE)
    compiled(criterion, boxes, Draw.of(0, epoch=2))  # one graph as well, though not for long
    torch.compiler.reset()
