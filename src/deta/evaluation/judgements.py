"""Which detection finds which object at one overlap, with the reason for every mistake.

The engines tell precision and recall alone; an analysis of mistakes needs the pairs. The layout of the ground truth
says by which rules: COCO's or those of LVIS.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.detections import CocoDetections
from deta.evaluation.ground_truth import GroundTruth

_ALMOST_ONE = 1 - 1e-10
"""COCO's program asks for no more overlap than this, so that rounding refuses no equal boxes."""
_NO_OBJECT = -1


class Verdict(IntEnum):
    """What a detection is. Source: arXiv:2008.08115, sec. 2.2, in the order of priority of its code."""

    TRUE = 0
    IGNORED = 1
    LOCATION = 2
    CLASS = 3
    DUPLICATE = 4
    BACKGROUND = 5
    BOTH = 6


@dataclass(frozen=True)
class Judgements:
    """Every detection judged; images in ascending order of id, inside an image the best score first.

    Attributes:
        labels: ``[N]`` int64 position of the category in the ground truth.
        scores: ``[N]`` float64.
        verdicts: ``[N]`` int64, of ``Verdict``.
        objects: ``[N]`` int64 row in the ground truth: the object found, or the unfound object that the
            detection would find with another box (``LOCATION``) or class (``CLASS``); -1 for none.
        is_found: ``[M]`` bool, for every row of the ground truth.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    verdicts: NDArray[np.int64]
    objects: NDArray[np.int64]
    is_found: NDArray[np.bool_]


def judge(
    ground_truth: GroundTruth,
    detections: CocoDetections,
    *,
    foreground: float = 0.5,
    background: float = 0.1,
    max_detections: int = 100,
) -> Judgements:
    """Match detections greedily, the best first, and say of every other what is wrong with it.

    Args:
        ground_truth: Of the images to judge.
        detections: Of the same images.
        foreground: IoU from which on a detection finds an object of its class.
        background: IoU below which a detection has nothing to do with an object.
        max_detections: Most detections per image and category; worse ones take no part.
    """
    order = by_score(detections, max_detections)
    labels = np.searchsorted(np.array(ground_truth.category_ids), detections.category_ids)[order]
    boxes, images = detections.boxes_xywh[order], detections.image_ids[order]
    verdicts, objects = np.full(len(order), Verdict.BACKGROUND, dtype=np.int64), np.full(len(order), _NO_OBJECT)
    is_found = np.zeros(len(ground_truth.areas), dtype=np.bool_)
    object_labels = np.searchsorted(np.array(ground_truth.category_ids), ground_truth.object_category_ids)
    for rows, annotated in _per_image(images, ground_truth.object_image_ids):
        scene = _Scene(
            overlap=_overlaps(boxes[rows], ground_truth.boxes_xywh[annotated], ground_truth.is_crowd[annotated]),
            is_same=labels[rows][:, None] == object_labels[annotated],
            is_crowd=ground_truth.is_crowd[annotated],
        )
        verdict, owner, found = scene.judge(foreground, background)
        verdicts[rows], is_found[annotated] = verdict, found
        objects[rows] = np.where(owner >= 0, annotated[owner], _NO_OBJECT)
    # COCO's program takes a box with one negative side for one outside every range of areas, which is no mistake.
    is_void = boxes[:, 2:].prod(axis=1) < 0
    is_excused = is_void | ~ground_truth.counts_mistakes(images, detections.category_ids[order])
    is_excused &= verdicts != Verdict.TRUE
    verdicts[is_excused], objects[is_excused] = Verdict.IGNORED, _NO_OBJECT
    return Judgements(labels, detections.scores[order], verdicts, objects, is_found)


@dataclass(frozen=True)
class _Scene:
    """``D`` detections, best first, and ``G`` annotations of an image, at least one of each."""

    overlap: NDArray[np.float64]  # [D, G]
    is_same: NDArray[np.bool_]  # [D, G] of one class
    is_crowd: NDArray[np.bool_]  # [G]

    def judge(
        self, foreground: float, background: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Verdicts ``[D]``, their annotations ``[D]`` or -1, and which annotations ``[G]`` are found."""
        verdicts, owners = np.zeros((2, len(self.overlap)), dtype=np.int64)
        owners -= 1
        is_found = self._match(verdicts, owners, min(foreground, _ALMOST_ONE))
        # -1 is below every threshold, 0 included: an overlap of nothing is none.
        real = np.where(self.is_crowd, -1.0, self.overlap)
        same, other = np.where(self.is_same, real, -1.0), np.where(self.is_same, -1.0, real)
        best_same, best_other = same.max(axis=1), other.max(axis=1)
        is_open = verdicts < 0
        rules = (
            (Verdict.LOCATION, (best_same >= background) & (best_same < foreground)),
            (Verdict.CLASS, best_other >= foreground),
            (Verdict.DUPLICATE, best_same >= foreground),
            (Verdict.BACKGROUND, real.max(axis=1) < background),
            (Verdict.BOTH, np.ones(len(real), dtype=np.bool_)),
        )
        for verdict, applies in rules:
            verdicts[is_open & applies] = verdict
            is_open &= ~applies
        for verdict, candidates in ((Verdict.LOCATION, same), (Verdict.CLASS, other)):
            nearest = candidates.argmax(axis=1)
            is_fixable = (verdicts == verdict) & ~is_found[nearest]
            owners[is_fixable] = nearest[is_fixable]
        return verdicts, owners, is_found

    def _match(self, verdicts: NDArray[np.int64], owners: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        """Fill in the true and the ignored detections, -1 in ``verdicts`` for others; which annotations are found."""
        is_candidate = self.is_same & (self.overlap >= threshold)
        is_found = np.zeros(len(self.is_crowd), dtype=np.bool_)
        verdicts[:] = -1
        for row in np.flatnonzero(is_candidate.any(axis=1)):
            free = np.flatnonzero(is_candidate[row] & ~self.is_crowd & ~is_found)
            if len(free):
                chosen = free[::-1][self.overlap[row, free[::-1]].argmax()]  # of equal overlaps COCO takes the last
                verdicts[row], owners[row], is_found[chosen] = Verdict.TRUE, chosen, True
            elif (is_candidate[row] & self.is_crowd).any():
                verdicts[row] = Verdict.IGNORED
        return is_found


def by_score(detections: CocoDetections, max_detections: int) -> NDArray[np.int64]:
    """Rows by image and descending score, without those beyond the limit of their image and category."""
    order = np.lexsort((-detections.scores, detections.category_ids, detections.image_ids))
    images, categories = detections.image_ids[order], detections.category_ids[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (images[1:] != images[:-1]) | (categories[1:] != categories[:-1])
    positions = np.arange(len(order))
    rank = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    kept = order[rank < max_detections]
    best_first: NDArray[np.int64] = kept[np.lexsort((-detections.scores[kept], detections.image_ids[kept]))]
    return best_first


def _per_image(
    detected: NDArray[np.int64], annotated: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of detections and of annotations for every image that has both; ``detected`` is sorted."""
    order = np.argsort(annotated, kind="stable")
    ascending = annotated[order]
    images, first = np.unique(detected, return_index=True)
    last = np.append(first, len(detected))[1:]
    lows, highs = np.searchsorted(ascending, images), np.searchsorted(ascending, images, side="right")
    for start, stop, low, high in zip(first, last, lows, highs, strict=True):
        if low < high:
            yield np.arange(start, stop), order[low:high]


def _overlaps(
    boxes_xywh: NDArray[np.float64], objects_xywh: NDArray[np.float64], is_crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """``[D, G]`` IoU; with a crowd the share of the detection that lies inside it."""
    first, second = boxes_xywh[:, None], objects_xywh[None]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = first[..., 2:].prod(axis=2)
    union = np.where(is_crowd, area, area + second[..., 2:].prod(axis=2) - shared)
    overlaps: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
