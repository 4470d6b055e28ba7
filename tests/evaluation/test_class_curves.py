"""Curves of classes and the confusion matrix, against scenes worked by hand and the matching of one image at a time."""

import time

import numpy as np
import pytest

from deta.evaluation import evaluate
from deta.evaluation.class_charts import confusion_figure, curves_figure
from deta.evaluation.class_curves import ClassCurves, class_curves
from deta.evaluation.judgements import Verdict, judge
from tests.evaluation.evaluated import detections, ground_truth, random_scene

CAT, DOG, BIRD = 3, 7, 90
BOX, FAR, AWAY = [0.0, 0, 100, 100], [300.0, 300, 400, 400], [600.0, 0, 700, 100]


def scene() -> ClassCurves:
    """Cats: one found at 0.8, one taken for a dog at 0.6; a dog missed; a bird in an empty place at 0.7 and 0.1."""
    truth = ground_truth([(1, CAT, BOX), (1, CAT, FAR), (2, DOG, BOX)])
    rows = [(1, CAT, BOX, 0.8), (1, DOG, FAR, 0.6), (2, BIRD, AWAY, 0.7), (2, BIRD, AWAY, 0.1), (1, CAT, BOX, 0.5)]
    return class_curves(truth, detections(rows))


def test_a_scene_worked_by_hand_has_these_curves_and_this_confusion() -> None:
    curves = scene()
    at = {score: round(score * 1000) for score in (0.4, 0.5, 0.7, 0.8, 0.9)}
    assert curves.num_objects.tolist() == [2, 1, 0]
    assert [curves.precision[0, at[score]] for score in (0.4, 0.5, 0.7, 0.8)] == [0.5, 0.5, 1, 1]
    assert [curves.recall[0, at[score]] for score in (0.4, 0.8, 0.9)] == [0.5, 0.5, 0]
    assert np.isnan(curves.precision[0, at[0.9]])
    assert curves.f1[0, at[0.8]] == pytest.approx(2 / 3)
    assert curves.f1[0, at[0.9]] == 0
    assert np.isnan(curves.recall[2]).all()
    assert 0.5 < curves.best_threshold < 0.6 + 1e-9  # the first at which the second cat of one place is gone
    assert curves.confusion.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert curves.confusion_rows()[0]["number"] == 1
    assert curves.rows()[0] == {
        "class": "cat", "objects": 2, "F1": 0.6667, "score": 0.501, "precision": 1.0, "recall": 0.5,
    }  # fmt: skip
    assert curves.rows()[2] == {"class": "bird", "objects": 0}


@pytest.mark.parametrize("seed", range(8))
def test_all_images_at_once_match_as_one_after_the_other(seed: int) -> None:
    truth, found = random_scene(seed, num_images=20)
    curves, judged = class_curves(truth, found), judge(truth, found)
    is_true, is_ignored = judged.verdicts == Verdict.TRUE, judged.verdicts == Verdict.IGNORED
    for k in range(3):
        mine = judged.labels == k
        assert curves.recall[k, 0] * curves.num_objects[k] == pytest.approx((mine & is_true).sum())
        assert curves.precision[k, 0] == pytest.approx((mine & is_true).sum() / (mine & ~is_ignored).sum())
    expected = evaluate(truth, found, engine="pycocotools", max_detections=100).precision[0, :, :, 0, -1].T
    np.testing.assert_allclose(curves.precision_at_recall, expected, rtol=0, atol=1e-12)


def test_every_object_and_every_detection_is_in_one_cell_of_the_confusion() -> None:
    truth, found = random_scene(3, num_images=30, crowds=False)
    curves = class_curves(truth, found)
    assert curves.confusion[:-1].sum(axis=1).tolist() == curves.num_objects.tolist()
    assert curves.confusion[:, :-1].sum() == (found.scores >= curves.best_threshold).sum()


def test_nothing_found_and_nothing_to_find_have_empty_curves() -> None:
    empty = class_curves(ground_truth([(1, CAT, BOX)]), detections([]))
    assert (empty.recall[0] == 0).all()
    assert empty.confusion[0].tolist() == [0, 0, 0, 1]
    nothing = class_curves(ground_truth([], images=[1]), detections([(1, CAT, BOX, 0.5)]))
    assert nothing.confusion[3].tolist() == [1, 0, 0, 0]
    for curves in (empty, nothing):
        assert confusion_figure(curves).axes
        assert curves_figure(curves).axes


@pytest.mark.slow
def test_five_thousand_images_take_less_than_a_second() -> None:
    generator = np.random.default_rng(0)
    num_objects, num_detections = 36_000, 250_000
    places = generator.uniform(0, 500, (num_objects, 2))
    boxes = np.concatenate((places, places + generator.uniform(10, 120, (num_objects, 2))), axis=1)
    images = generator.integers(1, 5001, num_objects)
    classes = generator.choice((CAT, DOG, BIRD), num_objects)
    truth = ground_truth(list(zip(images.tolist(), classes.tolist(), boxes.tolist(), strict=True)))
    near = generator.integers(0, num_objects, num_detections)
    moved = boxes[near] + generator.normal(0, 8, (num_detections, 4))
    scores = generator.random(num_detections).tolist()
    found = detections(list(zip(images[near].tolist(), classes[near].tolist(), moved.tolist(), scores, strict=True)))
    start = time.process_time()
    class_curves(truth, found)
    assert time.process_time() - start < 1
