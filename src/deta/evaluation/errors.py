"""What kind of mistakes cost a detector how much average precision.

Source: arXiv:2008.08115 (TIDE), sec. 2. Differs: the average precision is that of the evaluation at one IoU, so it
equals its AP50, and an oracle that makes several detections find one object keeps the best of its own kind. With ground
truth of LVIS a detection that its rules do not count is no mistake and explains no missed object.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.detections import CocoDetections
from deta.evaluation.ground_truth import GroundTruth
from deta.evaluation.judgements import Judgements, Verdict, judge
from deta.evaluation.precision import mean_precision, num_needed

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
"""Thresholds of the paper, sec. 2.2."""
ERROR_NAMES = ("class", "location", "both", "duplicate", "background", "missed")
_VERDICTS = (Verdict.CLASS, Verdict.LOCATION, Verdict.BOTH, Verdict.DUPLICATE, Verdict.BACKGROUND)


@dataclass(frozen=True)
class ErrorShare:
    """One kind of mistake.

    Attributes:
        name: ``class``: right place, wrong class; ``location``: right class, IoU between the two thresholds;
            ``both``: neither; ``duplicate``: the object was found by a better detection; ``background``: no object
            there; ``missed``: an object that no detection finds, not even with another class or place.
        count: Detections, for ``missed`` objects.
        per_class: ``[K]`` the same by category of the detection (of the object), in the order of the ground truth.
        gain: Average precision that an oracle which repairs this kind alone would add, in -1..1.
    """

    name: str
    count: int
    per_class: NDArray[np.int64]
    gain: float


@dataclass(frozen=True)
class ErrorAnalysis:
    """The decomposition of a detector's mistakes.

    Attributes:
        ap: Average precision at ``FOREGROUND_IOU``, in 0..1; NaN without an object.
        kinds: One entry per name of ``ERROR_NAMES``, in that order.
        false_positive_gain: What perfect precision at the present recall would add.
        false_negative_gain: What perfect recall at the present precision would add.
    """

    ap: float
    kinds: tuple[ErrorShare, ...]
    false_positive_gain: float
    false_negative_gain: float


@dataclass(frozen=True)
class _Ranking:
    """What average precision is made of: detections, not ignored, and the objects of each category."""

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    is_true: NDArray[np.bool_]
    num_objects: NDArray[np.int64]

    def ap(self, classes: NDArray[np.int64]) -> float:
        """COCO's mean over ``classes``; one in which nothing is left, neither object nor detection, is left out."""
        order = np.lexsort((-self.scores, self.labels))
        is_true = self.is_true[order]
        limits = np.searchsorted(self.labels[order], np.arange(len(self.num_objects) + 1))
        values = [
            _class_ap(is_true[limits[label] : limits[label + 1]], int(self.num_objects[label]))
            for label in classes
            if self.num_objects[label] or limits[label] < limits[label + 1]
        ]
        return float(np.mean(values)) if values else float("nan")

    def only(self, keep: NDArray[np.bool_]) -> "_Ranking":
        return replace(self, labels=self.labels[keep], scores=self.scores[keep], is_true=self.is_true[keep])


def _class_ap(is_true: NDArray[np.bool_], num_objects: int) -> float:
    """``is_true`` of the detections of a class, best first."""
    if not len(is_true) or not num_objects:
        return 0.0
    places = np.flatnonzero(is_true)[None]  # [1, M]
    num_found = np.arange(1, places.shape[1] + 1)[None]
    return float(mean_precision(num_found, places + 1, num_needed(np.array([num_objects])))[0])


def analyse_errors(
    ground_truth: GroundTruth,
    detections: CocoDetections,
    *,
    foreground: float = FOREGROUND_IOU,
    background: float = BACKGROUND_IOU,
    max_detections: int = 100,
) -> ErrorAnalysis:
    """Count the mistakes of every kind, and what an oracle that repairs one kind would gain.

    Args:
        ground_truth: Of the images to analyse.
        detections: Of the same images.
        foreground: IoU from which on a detection finds an object, above ``background``, up to 1.
        background: IoU below which a detection has nothing to do with an object, from 0.
        max_detections: Most detections per image and category.

    Raises:
        ValueError: The thresholds are not ``0 <= background < foreground <= 1``.
    """
    if not 0 <= background < foreground <= 1:
        raise ValueError(f"0 <= background < foreground <= 1 must hold, got {background} and {foreground}")
    judged = judge(
        ground_truth, detections, foreground=foreground, background=background, max_detections=max_detections
    )
    is_object = ~ground_truth.is_crowd
    object_labels = np.searchsorted(np.array(ground_truth.category_ids), ground_truth.object_category_ids)
    num_objects = np.bincount(object_labels[is_object], minlength=len(ground_truth.category_ids))
    classes = np.flatnonzero(num_objects)
    counted = judged.verdicts != Verdict.IGNORED
    plain = _Ranking(judged.labels, judged.scores, judged.verdicts == Verdict.TRUE, num_objects)
    ap = plain.only(counted).ap(classes)
    is_unfound = is_object & ~judged.is_found
    is_missed = is_unfound.copy()
    is_missed[judged.objects[judged.objects >= 0]] = False
    kinds = []
    for name, verdict in zip(ERROR_NAMES[:-1], _VERDICTS, strict=True):
        is_kind = judged.verdicts == verdict
        fixed = _repaired(plain, judged, is_kind, object_labels).only(counted & _stays(judged, is_kind))
        per_class = np.bincount(judged.labels[is_kind], minlength=len(num_objects))
        kinds.append(ErrorShare(name, int(is_kind.sum()), per_class, fixed.ap(classes) - ap))
    missed = np.bincount(object_labels[is_missed], minlength=len(num_objects))
    fixed = replace(plain.only(counted), num_objects=num_objects - missed)
    kinds.append(ErrorShare(ERROR_NAMES[-1], int(is_missed.sum()), missed, fixed.ap(classes) - ap))
    unfound = np.bincount(object_labels[is_unfound], minlength=len(num_objects))
    recalled = replace(plain.only(counted), num_objects=num_objects - unfound)
    return ErrorAnalysis(
        ap=ap,
        kinds=tuple(kinds),
        false_positive_gain=plain.only(plain.is_true).ap(classes) - ap,
        false_negative_gain=recalled.ap(classes) - ap,
    )


def _is_best(judged: Judgements, is_kind: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mistakes of a kind that are the best of their kind for an object not found yet."""
    rows = np.flatnonzero(is_kind & (judged.objects >= 0))
    rows = rows[np.argsort(-judged.scores[rows], kind="stable")]
    is_best = np.zeros(len(is_kind), dtype=np.bool_)
    is_best[rows[np.unique(judged.objects[rows], return_index=True)[1]]] = True
    return is_best


def _stays(judged: Judgements, is_kind: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Detections left when the kind is repaired: mistakes that cannot become right go."""
    return ~is_kind | _is_best(judged, is_kind)


def _repaired(
    ranking: _Ranking, judged: Judgements, is_kind: NDArray[np.bool_], object_labels: NDArray[np.int64]
) -> _Ranking:
    """The best mistakes of the kind with the class of their object, as right ones."""
    is_best = _is_best(judged, is_kind)
    labels = ranking.labels.copy()
    labels[is_best] = object_labels[judged.objects[is_best]]
    return replace(ranking, labels=labels, is_true=ranking.is_true | is_best)
