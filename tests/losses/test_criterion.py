"""The criterion beyond the reference outputs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deta.assign import Draw, HungarianAssigner, IoUAssigner
from deta.losses import Criterion
from deta.structures import DetectionOutput, Losses, Prediction, StageKey, Targets
from deta.training.stage_names import term_name
from tests.assign.scenes import frame, objects, random_scene
from tests.losses.criteria import QueryCriterion

CENTRE = (0.5, 0.5, 0.2, 0.2)


def make_output(boxes: Tensor, logits: Tensor, *, num_layers: int = 2, with_proposals: bool = False) -> DetectionOutput:
    """Every layer predicts the same; so does the first stage."""
    layer = Prediction(logits, boxes, boxes.detach(), frame(len(boxes)))
    stages = {StageKey("first"): replace(layer, logits=logits[..., :1])} if with_proposals else {}
    stages |= {StageKey("layers", index): layer for index in range(num_layers)}
    return DetectionOutput(stages, StageKey("layers", num_layers - 1))


def terms(losses: Losses) -> dict[str, Tensor]:
    """Every term under the name by which it is logged."""
    return {term_name(*name): value for name, value in zip(losses.names, losses.terms(), strict=True)}


def measure(criterion: Criterion, output: DetectionOutput, targets: Targets, seed: int = 0) -> Losses:
    """The losses of a batch."""
    return criterion(output, targets, Draw.of(seed))


def scene() -> tuple[DetectionOutput, Targets]:
    candidates, targets = random_scene(0)
    return make_output(candidates.boxes, candidates.logits), targets


def test_layers_share_one_assignment_or_have_their_own() -> None:
    output, targets = scene()
    once = measure(QueryCriterion(layer_assigner=HungarianAssigner(), rematch="once"), output, targets)
    own = measure(QueryCriterion(layer_assigner=HungarianAssigner(), rematch="per_layer"), output, targets)
    assert list(once.matches) == [StageKey("layers")]
    assert list(own.matches) == [StageKey("layers", 0), StageKey("layers", 1)]
    assert once.matches_of(StageKey("layers", 1)) is once.matches[StageKey("layers")]


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    output, targets = scene()
    losses = measure(
        QueryCriterion(layer_assigner=IoUAssigner(), class_weight=3, l1_weight=0, giou_weight=0.5), output, targets
    )
    expected = sum(
        {"class": 3.0, "l1": 0.0, "giou": 0.5}[name.split("/")[1]] * float(value)
        for name, value in terms(losses).items()
    )
    assert float(losses.total()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("normalizer", "divisor"), [("num_targets", 1), ("num_positives", 3)])
def test_sums_are_divided_by_objects_or_by_positives(normalizer: str, divisor: int) -> None:
    boxes = torch.tensor([[CENTRE] * 3]) + 0.01
    output = make_output(boxes, torch.zeros(1, 3, 2), num_layers=1)
    criterion = QueryCriterion(layer_assigner=IoUAssigner(gamma=None), normalizer=normalizer)  # type: ignore[arg-type]
    losses = measure(criterion, output, objects([CENTRE]))
    assert float(terms(losses)["layer0/l1"]) == pytest.approx(3 * 4 * 0.01 / divisor, rel=1e-4)


def test_divisors_are_averaged_over_ranks() -> None:
    output, targets = scene()
    criterion = QueryCriterion(layer_assigner=IoUAssigner())
    alone = measure(criterion, output, targets)
    shared = alone.averaged(lambda counts: 2 * counts)
    torch.testing.assert_close(shared.total(), alone.total() / 2)


def test_batch_without_objects_has_a_finite_loss_and_gradient() -> None:
    boxes = torch.rand(2, 5, 4, requires_grad=True)
    logits = torch.randn(2, 5, 3, requires_grad=True)
    for assigner in (IoUAssigner(), HungarianAssigner()):
        for targets in (
            objects([], []),
            replace(objects([CENTRE], []), is_object=torch.zeros(2, 1, dtype=torch.bool)),
        ):
            losses = measure(QueryCriterion(layer_assigner=assigner), make_output(boxes, logits), targets)
            losses.total().backward()
            assert losses.total() > 0
            assert terms(losses)["layer0/l1"] == 0
            assert logits.grad is not None
            assert logits.grad.isfinite().all()


def test_background_in_a_crowd_costs_nothing_and_counts_with_the_option_off() -> None:
    logits = torch.full((1, 1, 1), 5.0)
    output = make_output(torch.tensor([[CENTRE]]), logits, num_layers=1)
    targets = replace(
        objects([]), ignore_boxes=torch.tensor([[(0.5, 0.5, 0.9, 0.9)]]), is_ignore=torch.tensor([[True]])
    )
    assert measure(QueryCriterion(layer_assigner=IoUAssigner()), output, targets).total() == 0
    assert measure(QueryCriterion(layer_assigner=IoUAssigner(), ignore_coverage=None), output, targets).total() > 0


def test_more_than_400_classes_get_positives() -> None:
    logits = torch.zeros(1, 1, 1203, requires_grad=True)
    targets = replace(objects([CENTRE]), labels=torch.tensor([[1200]]))
    output = make_output(torch.tensor([[CENTRE]]), logits)
    measure(QueryCriterion(layer_assigner=IoUAssigner(gamma=None)), output, targets).total().backward()
    assert logits.grad is not None
    assert (logits.grad[0, 0] < 0).nonzero().tolist() == [[1200]]


def test_first_stage_sees_every_object_as_class_0() -> None:
    candidates, targets = random_scene(1)
    output = make_output(candidates.boxes, candidates.logits, with_proposals=True)
    criterion = QueryCriterion(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(tau=0.7, gamma=None))
    losses = measure(criterion, output, targets)
    assert losses.matches[StageKey("first")].statistics.num_positives.sum() > 0
    assert terms(losses)["proposals/class"] > 0


def test_detector_and_criterion_that_disagree_about_the_first_stage_are_refused() -> None:
    output, targets = scene()
    criterion = QueryCriterion(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner())
    with pytest.raises(ValueError, match="a rule for a first stage, which the detector does not have"):
        measure(criterion, output, targets)


def test_same_draw_gives_the_same_loss() -> None:
    output, targets = scene()
    criterion = QueryCriterion(layer_assigner=IoUAssigner(tau=0.2, max_per_target=None, gamma=0.05))
    first, second, other = (measure(criterion, output, targets, seed).total() for seed in (1, 1, 2))
    assert first == second
    assert first != other
