"""The programs that match detections with ground truth, behind one function for each set of rules.

All follow COCO's protocol and agree in every number. ``pycocotools`` is COCO's own; ``faster_coco_eval`` does
the same in compiled code, several times faster; ``hotcoco`` is faster still, young, and installed by choice.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.detections import CocoDetections
from deta.evaluation.ground_truth import GroundTruth
from deta.utils.checks import require_choice

_BLOCK = 40
"""Categories that LVIS's rules are applied to at once."""


@dataclass(frozen=True)
class Curves:
    """What an engine finds; -1 where there is no object to find.

    Attributes:
        precision: ``[10, 101, K, 4, 3]`` precision by IoU threshold (0.5 to 0.95), recall (0 to 1),
            category in the order of the ground truth, object size (all, small, medium, large) and
            limit of detections, of which LVIS has one.
        recall: ``[10, K, 4, 3]`` highest recall, by the same axes.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def evaluate(ground_truth: GroundTruth, detections: CocoDetections, *, engine: str, max_detections: int) -> Curves:
    """Match detections with ground truth by COCO's rules.

    Args:
        ground_truth: Of the images to evaluate.
        detections: Of the same images, in any order of images; equal scores of an image keep their order.
        engine: One of ``ENGINE_NAMES``.
        max_detections: Largest number of detections per image and category; 1 and 10 are the other limits.
    """
    return _run(ground_truth, detections, engine, max_detections=[1, 10, max_detections])


def evaluate_lvis(ground_truth: GroundTruth, detections: CocoDetections, *, max_detections: int) -> Curves:
    """Match detections with ground truth by LVIS's rules, with ``faster_coco_eval``.

    Args:
        ground_truth: In the layout of LVIS.
        detections: Of the same images, at most ``max_detections`` of each.
        max_detections: The one limit on the last axis of the curves.
    """
    parts = [
        _run(
            ground_truth.of_categories(ids),
            detections.of_categories(ids),
            "faster_coco_eval",
            max_detections=[max_detections],
            lvis_style=True,
        )
        for ids in _blocks(ground_truth.category_ids)
    ]
    return Curves(
        precision=np.concatenate([part.precision for part in parts], axis=2),
        recall=np.concatenate([part.recall for part in parts], axis=1),
    )


def _blocks(category_ids: Sequence[int]) -> list[Sequence[int]]:
    """The engine keeps an entry for every image and category, used or not: gigabytes for all of LVIS."""
    return [category_ids[first : first + _BLOCK] for first in range(0, len(category_ids), _BLOCK)]


def _run(
    ground_truth: GroundTruth,
    detections: CocoDetections,
    engine: str,
    *,
    max_detections: Sequence[int],
    **options: bool,
) -> Curves:
    evaluation = prepare(ground_truth, detections, engine=engine, **options)
    with silence():
        evaluation.params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return Curves(
        precision=np.asarray(evaluation.eval["precision"], dtype=np.float64),
        recall=np.asarray(evaluation.eval["recall"], dtype=np.float64),
    )


def prepare(
    ground_truth: GroundTruth,
    detections: CocoDetections,
    *,
    engine: str,
    **options: bool,
) -> Any:  # noqa: ANN401 - a class of the engine, without a common base
    """An engine's evaluation of boxes, with its usual parameters and further options; it has not run yet."""
    ground_truth_class, evaluation_class = load_engine(engine)
    ground_truth, detections = _renumbered(ground_truth, detections)
    content = ground_truth.to_coco()
    records = [
        record | {"id": number, "area": record["bbox"][2] * record["bbox"][3], "iscrowd": 0}
        for number, record in enumerate(detections.records(), start=1)
    ]
    with silence():
        return evaluation_class(
            _indexed(ground_truth_class, content),
            _indexed(ground_truth_class, content | {"annotations": records}),
            iouType="bbox",
            **options,
        )


def _renumbered(ground_truth: GroundTruth, detections: CocoDetections) -> tuple[GroundTruth, CocoDetections]:
    """Images and categories numbered from 1 in the order of their ids.

    Engines take an id for a float64 or for an unsigned number here and there, so that ids from 2 ** 53 on merge and
    negative ones are refused.
    """
    images, categories = ground_truth.image_ids, np.array(ground_truth.category_ids, dtype=np.int64)
    negative, not_exhaustive = (
        None if ragged is None else replace(ragged, values=_numbers(ragged.values, categories))
        for ragged in (ground_truth.negative, ground_truth.not_exhaustive)
    )
    return replace(
        ground_truth,
        image_ids=np.arange(1, len(images) + 1),
        category_ids=tuple(range(1, len(categories) + 1)),
        object_image_ids=_numbers(ground_truth.object_image_ids, images),
        object_category_ids=_numbers(ground_truth.object_category_ids, categories),
        negative=negative,
        not_exhaustive=not_exhaustive,
    ), replace(
        detections,
        image_ids=_numbers(detections.image_ids, images),
        category_ids=_numbers(detections.category_ids, categories),
    )


def _numbers(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of ids, from 1, among those of the ground truth, which ascend; 0 for one that is not there."""
    if not len(known):
        return np.zeros_like(ids)
    places = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return np.where(known[places] == ids, places + 1, 0)


def load_engine(name: str) -> tuple[type[Any], type[Any]]:
    """The ground truth and the evaluation class of an engine.

    Raises:
        ValueError: There is no engine of this name.
        ModuleNotFoundError: Its package is not installed.
    """
    require_choice("engine", name, ENGINE_NAMES)
    return _LOADERS[name]()


def _load_pycocotools() -> tuple[type[Any], type[Any]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _load_faster_coco_eval() -> tuple[type[Any], type[Any]]:
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "engine faster_coco_eval needs a package that is not installed: pip install faster-coco-eval"
        ) from error
    return COCO, COCOeval_faster


def _load_hotcoco() -> tuple[type[Any], type[Any]]:
    try:
        from hotcoco import COCO, COCOeval
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "engine hotcoco needs a package that is not installed: pip install hotcoco"
        ) from error
    return COCO, COCOeval


_LOADERS: Mapping[str, Callable[[], tuple[type[Any], type[Any]]]] = {
    "pycocotools": _load_pycocotools,
    "faster_coco_eval": _load_faster_coco_eval,
    "hotcoco": _load_hotcoco,
}
ENGINE_NAMES = tuple(_LOADERS)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """No word of progress: pycocotools prints it, faster_coco_eval logs it."""
    progress = logging.getLogger("faster_coco_eval")
    level = progress.level
    progress.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        progress.setLevel(level)


def _indexed(ground_truth_class: type[Any], content: Mapping[str, Any]) -> object:
    # loadRes, the usual way to make this object from detections, fails when there are none.
    indexed: Any = ground_truth_class()
    indexed.dataset = content
    indexed.createIndex()
    return indexed
