"""The decomposition of mistakes against hand-worked scenes and the average precision of COCO's own program."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from deta.evaluation import CocoResult, LvisRules, evaluate
from deta.evaluation.errors import ERROR_NAMES, ErrorAnalysis, analyse_errors
from deta.evaluation.judgements import Verdict, judge
from tests.evaluation.evaluated import Found, detections, federated, ground_truth, random_scene

CAT, DOG, BIRD = 3, 7, 90
BOX, FAR = [0.0, 0, 100, 100], [300.0, 300, 400, 400]
PARTLY = [0.0, 0, 100, 40]
"""IoU 0.4 with ``BOX``."""


def counts(analysis: ErrorAnalysis) -> dict[str, int]:
    """Kinds that occur."""
    return {kind.name: kind.count for kind in analysis.kinds if kind.count}


def gains(analysis: ErrorAnalysis) -> dict[str, float]:
    return {kind.name: kind.gain for kind in analysis.kinds}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((1, DOG, BOX, 0.5), {"class": 1}),
        ((1, CAT, PARTLY, 0.5), {"location": 1}),
        ((1, DOG, PARTLY, 0.5), {"both": 1, "missed": 1}),
        ((1, CAT, FAR, 0.5), {"background": 1, "missed": 1}),
        ((1, CAT, [0, 0, 100, 9.0], 0.5), {"background": 1, "missed": 1}),
        ((1, CAT, [0, 0, 100, 10.0], 0.5), {"location": 1}),
        ((1, CAT, [0, 0, 100, 50.0], 0.5), {}),
    ],
    ids=["class", "location", "both", "background", "below 0.1", "from 0.1", "from 0.5"],
)
def test_one_detection_of_one_cat_has_one_verdict(row: Found, expected: dict[str, int]) -> None:
    assert counts(analyse_errors(ground_truth([(1, CAT, BOX)]), detections([row]))) == expected


def test_the_worse_of_two_detections_of_an_object_is_a_duplicate() -> None:
    rows: list[Found] = [(1, CAT, [0, 0, 100, 90], 0.4), (1, CAT, [0, 0, 100, 60], 0.9)]
    analysis = analyse_errors(ground_truth([(1, CAT, BOX)]), detections(rows))
    assert counts(analysis) == {"duplicate": 1}
    assert analysis.ap == pytest.approx(1.0)
    judged = judge(ground_truth([(1, CAT, BOX)]), detections(rows))
    assert judged.verdicts.tolist() == [Verdict.TRUE, Verdict.DUPLICATE]
    assert judged.scores.tolist() == [0.9, 0.4]


def test_repairing_a_kind_gains_what_its_detections_cost() -> None:
    truth = ground_truth([(1, CAT, BOX), (1, CAT, FAR)])
    rows: list[Found] = [(1, DOG, BOX, 0.9), (1, CAT, [300, 300, 400, 330], 0.8), (1, CAT, [600, 0, 650, 50], 0.7)]
    analysis = analyse_errors(truth, detections(rows))
    assert analysis.ap == 0
    assert counts(analysis) == {"class": 1, "location": 1, "background": 1}
    # The class mistake repaired: right at once, precision 1 up to recall 0.5 (51 of 101 points). The location mistake
    # repaired: the same. Without the stray detection nothing is found still.
    expected = {"class": 51 / 101, "location": 51 / 101, "both": 0, "duplicate": 0, "background": 0, "missed": 0}
    assert gains(analysis) == pytest.approx(expected)
    assert analysis.false_positive_gain == 0
    assert analysis.false_negative_gain == 0  # without the objects nothing is found


def test_a_missed_object_costs_its_share_of_the_recall() -> None:
    truth = ground_truth([(1, CAT, BOX), (1, CAT, FAR)])
    rows: list[Found] = [(1, CAT, BOX, 0.9), (1, CAT, [600, 0, 650, 50], 0.95)]
    analysis = analyse_errors(truth, detections(rows))
    assert analysis.ap == pytest.approx(0.5 * 51 / 101)  # precision 1/2 up to recall 0.5
    assert counts(analysis) == {"background": 1, "missed": 1}
    assert gains(analysis)["missed"] == pytest.approx(0.5 - 0.5 * 51 / 101)
    assert gains(analysis)["background"] == pytest.approx(51 / 101 - 0.5 * 51 / 101)
    assert analysis.false_positive_gain == pytest.approx(gains(analysis)["background"])
    assert analysis.false_negative_gain == pytest.approx(gains(analysis)["missed"])


def test_of_several_mistakes_about_one_object_the_best_is_repaired_and_the_others_go() -> None:
    rows: list[Found] = [(1, DOG, BOX, 0.6), (1, BIRD, BOX, 0.9), (1, DOG, BOX, 0.3)]
    analysis = analyse_errors(ground_truth([(1, CAT, BOX)]), detections(rows))
    assert counts(analysis) == {"class": 3}
    assert gains(analysis)["class"] == pytest.approx(1.0)


def test_a_mistake_about_an_object_that_is_found_only_goes() -> None:
    truth = ground_truth([(1, CAT, BOX), (2, DOG, BOX)])
    rows: list[Found] = [(1, DOG, BOX, 0.9), (1, CAT, BOX, 0.5), (2, DOG, BOX, 0.4)]
    analysis = analyse_errors(truth, detections(rows))
    assert analysis.ap == pytest.approx((1 + 0.5) / 2)  # the dog in image 2 comes second
    assert gains(analysis)["class"] == pytest.approx(0.25)


def test_location_comes_before_class_and_class_before_duplicate() -> None:
    truth = ground_truth([(1, CAT, BOX), (1, DOG, [0, 0, 100, 60])])  # IoU 0.6 with each other
    rows: list[Found] = [(1, CAT, BOX, 0.9), (1, CAT, BOX, 0.8)]
    assert counts(analyse_errors(truth, detections(rows))) == {"class": 1}  # and a duplicate, but the class comes first
    small = ground_truth([(1, CAT, PARTLY), (1, DOG, BOX)])
    assert counts(analyse_errors(small, detections([(1, CAT, BOX, 0.9)]))) == {"location": 1, "missed": 1}


def test_detections_in_a_crowd_are_no_mistakes_and_crowds_are_not_missed() -> None:
    truth = ground_truth([(1, CAT, BOX)], crowds=[(1, CAT, FAR)])
    rows: list[Found] = [(1, CAT, [310, 310, 330, 330], 0.9), (1, CAT, BOX, 0.8), (1, DOG, [310, 310, 330, 330], 0.7)]
    analysis = analyse_errors(truth, detections(rows))
    assert counts(analysis) == {"background": 1}  # the dog: the crowd is one of cats
    assert analysis.ap == pytest.approx(1.0)


def test_an_image_without_objects_has_only_background() -> None:
    truth = ground_truth([(1, CAT, BOX)], images=[2])
    analysis = analyse_errors(truth, detections([(2, CAT, BOX, 0.9), (1, CAT, BOX, 0.8)]))
    assert counts(analysis) == {"background": 1}


def test_no_detection_at_all_misses_everything() -> None:
    analysis = analyse_errors(ground_truth([(1, CAT, BOX), (1, DOG, FAR)]), detections([]))
    assert (analysis.ap, counts(analysis)) == (0, {"missed": 2})
    assert math.isnan(analysis.false_negative_gain)  # nothing is left to average
    assert analysis.kinds[-1].per_class.tolist() == [1, 1, 0]


def test_no_object_at_all_has_no_average_precision() -> None:
    analysis = analyse_errors(ground_truth([], images=[1]), detections([(1, CAT, BOX, 0.9)]))
    assert math.isnan(analysis.ap)
    assert counts(analysis) == {"background": 1}


def test_a_box_with_one_negative_side_is_no_mistake_as_in_coco() -> None:
    truth, rows = ground_truth([(1, CAT, BOX)]), detections([(1, CAT, [50, 0, 40, 90], 0.9), (1, CAT, BOX, 0.5)])
    curves = evaluate(truth, rows, engine="pycocotools", max_detections=100)
    assert analyse_errors(truth, rows).ap == pytest.approx(curves.precision[0, :, 0, 0, 2].mean(), abs=1e-12)
    assert counts(analyse_errors(truth, rows)) == {}


@pytest.mark.parametrize("limits", [100, 10])
@pytest.mark.parametrize("seed", range(4))
def test_the_average_precision_is_that_of_coco(seed: int, limits: int) -> None:
    truth, found = random_scene(seed)
    curves = evaluate(truth, found, engine="pycocotools", max_detections=limits)
    options = {"num_detections": len(found), "num_unmapped": 0, "num_repeats": 0, "max_detections": limits}
    result = CocoResult.from_curves(curves, truth, **options)
    assert 0 < result.ap50 < 1
    # COCO's program adds 2e-16 to a divisor.
    assert analyse_errors(truth, found, max_detections=limits).ap == pytest.approx(result.ap50, abs=1e-12)
    seventy_five = analyse_errors(truth, found, foreground=0.75, max_detections=limits)
    assert seventy_five.ap == pytest.approx(result.ap75, abs=1e-12)


@pytest.mark.parametrize(
    ("row", "negative", "not_exhaustive", "expected"),
    [
        ((1, DOG, BOX, 0.5), [], [], {"missed": 1}),
        ((1, DOG, BOX, 0.5), [DOG], [], {"class": 1}),
        ((1, DOG, BOX, 0.5), [DOG], [DOG], {"missed": 1}),
        ((1, DOG, PARTLY, 0.5), [DOG], [], {"both": 1, "missed": 1}),
        ((1, CAT, PARTLY, 0.5), [], [], {"location": 1}),
        ((1, CAT, PARTLY, 0.5), [], [CAT], {"missed": 1}),
        ((1, CAT, FAR, 0.5), [], [], {"background": 1, "missed": 1}),
        ((1, CAT, FAR, 0.5), [], [CAT], {"missed": 1}),
        ((1, CAT, BOX, 0.5), [], [CAT], {}),
        ((2, DOG, BOX, 0.5), [], [], {"missed": 1}),
        ((2, DOG, BOX, 0.5), [DOG], [], {"background": 1, "missed": 1}),
    ],
)
def test_by_the_rules_of_lvis_only_what_was_looked_for_is_a_mistake(
    row: Found, negative: list[int], not_exhaustive: list[int], expected: dict[str, int]
) -> None:
    image = row[0]
    truth = ground_truth([(1, CAT, BOX)], images=[2])
    truth = federated(truth, negative={image: negative}, not_exhaustive={image: not_exhaustive})
    assert counts(analyse_errors(truth, detections([row]))) == expected


def test_by_the_rules_of_lvis_a_second_detection_is_no_mistake_where_there_may_be_more_objects() -> None:
    rows: list[Found] = [(1, CAT, BOX, 0.9), (1, CAT, BOX, 0.8)]
    truth = ground_truth([(1, CAT, BOX)])
    assert counts(analyse_errors(federated(truth), detections(rows))) == {"duplicate": 1}
    assert counts(analyse_errors(federated(truth, not_exhaustive={1: [CAT]}), detections(rows))) == {}


@pytest.mark.parametrize("limit", [300, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_average_precision_is_that_of_lvis(seed: int, limit: int) -> None:
    pytest.importorskip("faster_coco_eval")
    scene, found = random_scene(seed, crowds=False)
    generator = np.random.default_rng(seed)
    negative, not_exhaustive = (
        {image: generator.choice([CAT, DOG, BIRD], 1).tolist() for image in scene.image_ids.tolist()} for _ in range(2)
    )
    truth, rules = federated(scene, negative=negative, not_exhaustive=not_exhaustive), LvisRules(max_detections=limit)
    evaluation = rules.evaluate(truth, found)
    analysis = analyse_errors(truth, evaluation.detections, max_detections=limit)
    assert 0 < evaluation.result.ap50 < 1
    assert analysis.ap == pytest.approx(evaluation.result.ap50, abs=1e-12)
    assert sum(counts(analysis).values()) < sum(counts(analyse_errors(scene, found)).values())
    seventy_five = analyse_errors(truth, evaluation.detections, foreground=0.75, max_detections=limit)
    assert seventy_five.ap == pytest.approx(evaluation.result.ap75, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_every_detection_and_every_object_has_one_place(seed: int) -> None:
    truth, found = random_scene(seed)
    judged, analysis = judge(truth, found), analyse_errors(truth, found)
    num_right = int((judged.verdicts == Verdict.TRUE).sum())
    num_ignored = int((judged.verdicts == Verdict.IGNORED).sum())
    wrong = {kind.name: kind for kind in analysis.kinds}
    assert num_right + num_ignored + sum(wrong[name].count for name in ERROR_NAMES[:-1]) == len(found)
    assert all(kind.per_class.sum() == kind.count for kind in analysis.kinds)
    assert num_right == judged.is_found.sum()
    owners = judged.objects[judged.verdicts == Verdict.TRUE]
    assert len(np.unique(owners)) == len(owners)
    assert analysis.false_positive_gain >= max(wrong[name].gain for name in ("duplicate", "background", "both")) - 1e-12


def test_random_scenes_hold_mistakes_of_every_kind() -> None:
    analyses = [analyse_errors(*random_scene(seed)) for seed in range(4)]
    assert all(sum(analysis.kinds[k].count for analysis in analyses) > 0 for k in range(len(ERROR_NAMES)))


def test_the_order_of_detections_does_not_matter() -> None:
    truth, found = random_scene(5)
    rows = list(zip(found.image_ids.tolist(), found.category_ids.tolist(), _corners(found.boxes_xywh), strict=True))
    scored: list[Found] = [(*row, 1 / (2 + k)) for k, row in enumerate(rows)]
    forward, backward = (analyse_errors(truth, detections(order)) for order in (scored, scored[::-1]))
    assert counts(forward) == counts(backward)
    assert gains(forward) == pytest.approx(gains(backward))


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0 <= background < foreground <= 1 must hold, got 0\.5 and 0\.4"):
        analyse_errors(ground_truth([(1, CAT, BOX)]), detections([]), foreground=0.4, background=0.5)


def _corners(boxes_xywh: NDArray[np.float64]) -> Sequence[Sequence[float]]:
    corners = boxes_xywh.copy()
    corners[:, 2:] += corners[:, :2]
    rows: list[list[float]] = corners.tolist()
    return rows
