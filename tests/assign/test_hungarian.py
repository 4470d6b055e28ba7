"""One-to-one assignment beyond the reference outputs."""

import math
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch

from deta.assign import Assigner, Draw, HungarianAssigner, IoUAssigner, Prediction, solve
from deta.ops.assignment import solve_assignments
from deta.testing import check_assigner
from tests.assign.scenes import assigned, candidates, objects, random_scene, statistics

CENTRE = (0.5, 0.5, 0.2, 0.2)


@pytest.mark.parametrize("options", [{}, {"class_weight": 0}, {"l1_weight": 0}, {"scores": "softmax"}, {"eps": 1e-6}])
def test_the_rule_does_what_every_rule_must(options: dict[str, Any]) -> None:
    check_assigner(HungarianAssigner(**options))


def test_the_last_output_takes_its_share_of_a_softmax_cost() -> None:
    scene = candidates([CENTRE])
    logits = torch.tensor([[[0.0, 0.0, math.log(2)]]])
    assigner = HungarianAssigner(class_weight=1, l1_weight=0, giou_weight=0, scores="softmax")
    assert assigner.cost(replace(scene, logits=logits), objects([CENTRE])).item() == pytest.approx(-1 / 4)


def test_unknown_scores_are_named() -> None:
    with pytest.raises(ValueError, match="scores must be one of sigmoid, softmax, got 'cosine'"):
        HungarianAssigner(scores="cosine")


@pytest.mark.parametrize("seed", range(4))
def test_total_cost_is_the_least_of_all_permutations(seed: int) -> None:
    scene, targets = random_scene(seed, num_queries=5, sizes=(3,))
    scene = replace(scene, may_match=None)
    assigner = HungarianAssigner()
    cost = assigner.cost(scene, targets)[0]
    pairs = assigned(assigner, scene, targets).pairs()
    found = sum(float(cost[query, k]) for _, query, k in pairs.tolist())
    best = min(sum(float(cost[q, k]) for k, q in enumerate(choice)) for choice in permutations(range(5), 3))
    assert found == pytest.approx(best, abs=1e-5)


def test_every_object_gets_one_query() -> None:
    scene, targets = random_scene(0)
    pairs = assigned(HungarianAssigner(), scene, targets).pairs()
    assert len(pairs) == targets.is_object.sum()
    assert len(pairs[:, [0, 2]].unique(dim=0)) == len(pairs)


def test_more_objects_than_queries_leaves_the_rest_unmatched() -> None:
    scene, targets = candidates([CENTRE] * 2), objects([CENTRE] * 5)
    matches = assigned(HungarianAssigner(), scene, targets)
    assert (matches.target >= 0).sum() == 2
    assert statistics(matches, scene, targets).num_unmatched.sum() == 3


def test_prediction_that_is_not_finite_does_not_stop_the_assignment() -> None:
    scene = candidates([(float("nan"),) * 4, CENTRE])
    assert assigned(HungarianAssigner(), scene, objects([CENTRE])).target.tolist() == [[-1, 0]]


def test_assigning_together_equals_assigning_one_by_one() -> None:
    assigners: tuple[Assigner, ...] = (HungarianAssigner(), IoUAssigner(gamma=None), HungarianAssigner())
    scenes = [random_scene(seed, num_queries=20 + seed) for seed in range(3)]
    pairs = list(zip(assigners, scenes, strict=True))
    together = solve([assigner(*scene, Draw.of(0)) for assigner, scene in pairs])
    for (assigner, scene), matches in zip(pairs, together, strict=True):
        assert torch.equal(matches.target, assigned(assigner, *scene).target)


def test_all_weights_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing decides"):
        HungarianAssigner(class_weight=0, l1_weight=0, giou_weight=0)


def test_an_object_is_compared_with_the_boxes_for_its_class() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = 0.2 + 0.3 * torch.rand(1, 6, 3, 4, generator=generator)  # one for each of three classes
    logits = torch.randn(1, 6, 3, generator=generator)
    targets = objects([CENTRE, (0.3, 0.3, 0.2, 0.3)])
    for label in range(3):
        labelled = replace(targets, labels=torch.full_like(targets.labels, label))
        found = HungarianAssigner(eps=1e-6).cost(Prediction(logits, boxes, boxes[:, :, 0]), labelled)
        own = Prediction(logits, boxes[:, :, label], boxes[:, :, 0])
        torch.testing.assert_close(found, HungarianAssigner(eps=1e-6).cost(own, labelled))


@pytest.mark.parametrize("scale", [1.0, 2e6, 3e30])
def test_what_may_not_be_is_never_chosen_however_much_the_rest_costs(scale: float) -> None:
    cost = torch.tensor([[[2.0, 5.0], [torch.inf, 1.0], [torch.inf, torch.nan]]]) * scale
    (owner,) = solve_assignments([cost], [torch.ones(1, 2, dtype=torch.bool)])
    assert owner.tolist() == [[0, 1, -1]]
