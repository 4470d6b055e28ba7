"""Which classes are taken for which, and precision, recall and F1 of every class over the score, at IoU 0.50.

Detections are matched as COCO's protocol does, all images at once: the best one first takes the object of its class
that it overlaps most. That is a stable matching in which every object prefers the higher score, so that rounds of
proposals find it (Gale and Shapley, 1962), each of them a few operations on arrays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.detections import CocoDetections
from deta.evaluation.ground_truth import GroundTruth
from deta.evaluation.judgements import by_score
from deta.evaluation.precision import RECALLS

NUM_THRESHOLDS = 1001
_IOU = 0.5


@dataclass(frozen=True)
class ClassCurves:
    """Of ``K`` categories in the order of the ground truth.

    Attributes:
        names: Of the categories.
        num_objects: ``[K]`` int64, crowds left out.
        thresholds: ``[1001]`` float64 scores 0..1.
        precision: ``[K, 1001]`` of detections of at least that score; NaN where there are none.
        recall: ``[K, 1001]``; NaN without an object.
        precision_at_recall: ``[K, 101]`` highest precision at a recall of at least 0, 0.01, ... 1, or NaN.
        confusion: ``[K + 1, K + 1]`` int64 of detections of at least ``best_threshold``: row the class of an object,
            column that of the detection that found it or, where none did, of one that overlaps it; last row detections
            of nothing, last column missed objects.
        best_threshold: Score at which the mean F1 of the classes is highest.
    """

    names: tuple[str, ...]
    num_objects: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision_at_recall: NDArray[np.float64]
    confusion: NDArray[np.int64]
    best_threshold: float

    @property
    def f1(self) -> NDArray[np.float64]:
        """``[K, 1001]`` harmonic mean of precision and recall; NaN without an object, 0 where nothing is found."""
        return _f1(self.precision, self.recall)

    def rows(self) -> list[dict[str, Any]]:
        """One row for every category: its objects, and its best F1 with score, precision and recall there."""
        rows: list[dict[str, Any]] = []
        f1 = self.f1
        for k, name in enumerate(self.names):
            row: dict[str, Any] = {"class": name, "objects": int(self.num_objects[k])}
            if self.num_objects[k]:
                best = int(f1[k].argmax())
                values = (f1[k], self.thresholds, self.precision[k], self.recall[k])
                names = ("F1", "score", "precision", "recall")
                row |= {
                    name: None if np.isnan(column[best]) else round(float(column[best]), 4)
                    for name, column in zip(names, values, strict=True)
                }
            rows.append(row)
        return rows

    def confusion_rows(self) -> list[dict[str, Any]]:
        """The cells of the confusion matrix that are not 0, the most frequent first."""
        names = (*self.names, "nothing")
        objects, found = np.nonzero(self.confusion)
        numbers = self.confusion[objects, found]
        order = np.argsort(-numbers, kind="stable")
        return [{"object": names[objects[k]], "detected as": names[found[k]], "number": int(numbers[k])} for k in order]


def class_curves(ground_truth: GroundTruth, detections: CocoDetections, *, max_detections: int = 100) -> ClassCurves:
    """Match and count.

    Args:
        ground_truth: Of the images to look at.
        detections: Of the same images.
        max_detections: Most detections per image and category; worse ones take no part.
    """
    scene = _Scene.of(ground_truth, detections, max_detections)
    num_classes = len(ground_truth.category_ids)
    found = scene.match(np.arange(len(scene.scores)), np.flatnonzero(~scene.is_crowd), same_class=True)
    is_true = found >= 0
    counts = is_true | ~(scene.lies_in_crowd() | scene.is_excused)
    num_objects = np.bincount(scene.object_labels[~scene.is_crowd], minlength=num_classes)
    thresholds = np.linspace(0, 1, NUM_THRESHOLDS)
    true, false = (
        _at_least(scene.labels[chosen], scene.scores[chosen], num_classes) for chosen in (is_true, counts & ~is_true)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = true / (true + false), true / num_objects[:, None]
    f1 = _f1(precision, recall)[num_objects > 0]
    best = thresholds[int(f1.mean(axis=0).argmax())] if len(f1) else 0.0
    return ClassCurves(
        names=tuple(ground_truth.category_names),
        num_objects=num_objects,
        thresholds=thresholds,
        precision=precision,
        recall=recall,
        precision_at_recall=_envelopes(scene.labels[counts], scene.scores[counts], is_true[counts], num_objects),
        confusion=_confusion(scene, found, counts, best, num_classes),
        best_threshold=float(best),
    )


@dataclass(frozen=True)
class _Scene:
    """Detections, best scores first inside an image, and objects of all images."""

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    is_excused: NDArray[np.bool_]
    object_images: NDArray[np.int64]
    object_labels: NDArray[np.int64]
    object_boxes: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]

    @classmethod
    def of(cls, truth: GroundTruth, detections: CocoDetections, max_detections: int) -> "_Scene":
        order = by_score(detections, max_detections)
        categories, ids = np.array(truth.category_ids), detections.category_ids[order]
        images, boxes = detections.image_ids[order], detections.boxes_xywh[order]
        is_void = boxes[:, 2:].prod(axis=1) < 0
        return cls(
            images=images,
            labels=np.searchsorted(categories, ids),
            scores=detections.scores[order],
            boxes=boxes,
            is_excused=is_void | ~truth.counts_mistakes(images, ids),
            object_images=truth.object_image_ids,
            object_labels=np.searchsorted(categories, truth.object_category_ids),
            object_boxes=truth.boxes_xywh,
            is_crowd=truth.is_crowd,
        )

    def match(self, rows: NDArray[np.int64], objects: NDArray[np.int64], *, same_class: bool) -> NDArray[np.int64]:
        """``[len(rows)]`` object that each of these detections finds among these objects; -1 for none."""
        row, owner, overlap = self._pairs(rows, objects, same_class=same_class)
        is_enough = overlap >= _IOU
        row, owner, overlap = row[is_enough], owner[is_enough], overlap[is_enough]
        order = np.lexsort((-owner, -overlap, row))  # of equal overlaps COCO takes the last object
        row, owner = row[order], owner[order]
        starts = np.searchsorted(row, np.arange(len(rows)))
        ends = np.searchsorted(row, np.arange(len(rows)), side="right")
        rank = np.empty(len(rows), dtype=np.int64)
        rank[np.lexsort((rows, -self.scores[rows]))] = np.arange(len(rows))
        holder = np.full(len(self.is_crowd), len(rows))  # rank of the detection that an object holds
        by_rank = np.argsort(rank)
        place, found = starts.copy(), np.full(len(rows), -1)
        active = np.flatnonzero(starts < ends)
        while len(active):
            wanted = owner[place[active]]
            before = holder[wanted]
            np.minimum.at(holder, wanted, rank[active])
            is_taken = holder[wanted] == rank[active]
            found[active[is_taken]] = wanted[is_taken]
            displaced = by_rank[before[is_taken & (before < len(rows))]]
            found[displaced] = -1
            active = np.concatenate((active[~is_taken], displaced))
            place[active] += 1
            active = active[place[active] < ends[active]]
        return found

    def lies_in_crowd(self) -> NDArray[np.bool_]:
        """Which detections lie to a half or more inside a crowd of their class."""
        row, _, share = self._pairs(
            np.arange(len(self.scores)), np.flatnonzero(self.is_crowd), same_class=True, of_detection=True
        )
        inside = np.zeros(len(self.scores), dtype=np.bool_)
        inside[row[share >= _IOU]] = True
        return inside

    def _pairs(
        self,
        rows: NDArray[np.int64],
        objects: NDArray[np.int64],
        *,
        same_class: bool,
        of_detection: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """All pairs of an image, or image and class: index into ``rows``, object, IoU or share of the detection."""
        size = int(self.object_labels.max(initial=0) + self.labels.max(initial=0)) + 1 if same_class else 1
        _, place = np.unique(np.concatenate((self.images[rows], self.object_images[objects])), return_inverse=True)
        key, other = place[: len(rows)] * size, place[len(rows) :] * size
        if same_class:
            key, other = key + self.labels[rows], other + self.object_labels[objects]
        order = np.argsort(other, kind="stable")
        start = np.searchsorted(other[order], key)
        count = np.searchsorted(other[order], key, side="right") - start
        row = np.repeat(np.arange(len(rows)), count)
        inside = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        owner = objects[order[np.repeat(start, count) + inside]]
        return row, owner, _overlap(self.boxes[rows[row]], self.object_boxes[owner], of_detection=of_detection)


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64], *, of_detection: bool) -> NDArray[np.float64]:
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    whole = boxes[:, 2:].prod(axis=1)
    if not of_detection:
        whole = whole + others[:, 2:].prod(axis=1) - shared
    share: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return share


def _at_least(labels: NDArray[np.int64], scores: NDArray[np.float64], num_classes: int) -> NDArray[np.int64]:
    """``[K, 1001]`` detections of every class whose score reaches a threshold."""
    steps = np.floor(np.clip(scores, 0, 1) * (NUM_THRESHOLDS - 1) + 1e-9).astype(np.int64)
    counts = np.bincount(labels * NUM_THRESHOLDS + steps, minlength=num_classes * NUM_THRESHOLDS)
    reached: NDArray[np.int64] = counts.reshape(num_classes, NUM_THRESHOLDS)[:, ::-1].cumsum(axis=1)[:, ::-1]
    return reached


def _f1(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.nan_to_num(precision) + recall
    f1: NDArray[np.float64] = np.where(
        total == 0, 0.0, 2 * np.nan_to_num(precision) * recall / np.where(total == 0, 1.0, total)
    )
    return f1


def _envelopes(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    is_true: NDArray[np.bool_],
    num_objects: NDArray[np.int64],
) -> NDArray[np.float64]:
    curves = np.full((len(num_objects), len(RECALLS)), np.nan)
    order = np.lexsort((-scores, labels))
    ends = np.searchsorted(labels[order], np.arange(len(num_objects) + 1))
    for k in np.flatnonzero(num_objects):
        hits = is_true[order[ends[k] : ends[k + 1]]].cumsum()
        highest = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        places = np.searchsorted(hits / num_objects[k], RECALLS)
        curves[k] = np.append(highest, 0.0)[places]
    return curves


def _confusion(
    scene: _Scene, found: NDArray[np.int64], counts: NDArray[np.bool_], threshold: float, num_classes: int
) -> NDArray[np.int64]:
    """Objects of their class first; of what is left, objects of other classes; then what overlaps nothing."""
    is_good = counts & (scene.scores >= threshold)
    objects = np.flatnonzero(~scene.is_crowd)
    right = found[is_good & (found >= 0)]
    rest = np.flatnonzero(is_good & (found < 0))
    missed = np.setdiff1d(objects, right)
    wrong = scene.match(rest, missed, same_class=False)
    is_confused = wrong >= 0
    confusion = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    labels = scene.object_labels
    np.add.at(confusion, (labels[right], labels[right]), 1)
    np.add.at(confusion, (labels[wrong[is_confused]], scene.labels[rest[is_confused]]), 1)
    np.add.at(confusion[num_classes], scene.labels[rest[~is_confused]], 1)
    np.add.at(confusion[:, num_classes], labels[np.setdiff1d(missed, wrong)], 1)
    return confusion
