"""The metric of a validation epoch, keyed by image id and computed once."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from deta.evaluation.detections import CocoDetections, FlatDetections, name_some
from deta.evaluation.gather import gather_to_first_rank, run_on_first_rank
from deta.evaluation.ground_truth import GroundTruth, read_ground_truth
from deta.evaluation.matching import ImageMatches, match_images
from deta.evaluation.result import CocoResult
from deta.evaluation.rules import CocoRules, Result, Rules
from deta.structures import Detections
from deta.utils.checks import require_bool, require_int
from deta.utils.wording import counted

logger = logging.getLogger(__name__)

_STATES = ("image_ids", "boxes", "scores", "labels", "is_detection")


class DetectionEvaluator(Metric, Generic[Result]):
    """Scores box detections against an annotation file.

    ``update`` keeps what it is given on its device, without synchronisation. ``compute`` gathers the
    detections of all ranks on the first, evaluates there and hands the result to all. Torchmetrics'
    own metric copies everything to every rank and evaluates on each, and knows no image ids, so that
    images which a distributed sampler repeats count twice.

    Args:
        rules: How, and of which layout the annotation file is.
        annotations: Annotation file of the evaluated split.
        category_ids: Category id of every class index of the model, in order; None for a class that
            stands for no category (published checkpoints have such slots).
        expect_all_images: Whether ``compute`` fails unless every image of the file was seen; False evaluates
            the images that were seen.

    Attributes:
        expect_all_images: May be changed between epochs, for a validation that is limited on purpose.

    Raises:
        ValueError: The annotation file is not valid, ``category_ids`` names a category that it does not
            list or names one twice.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    image_ids: list[Tensor]
    boxes: list[Tensor]
    scores: list[Tensor]
    labels: list[Tensor]
    is_detection: list[Tensor]

    def __init__(
        self,
        *,
        rules: Rules[Result],
        annotations: Path,
        category_ids: Sequence[int | None],
        expect_all_images: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=False, dist_sync_on_step=False)
        self.expect_all_images = require_bool("expect_all_images", expect_all_images)
        self._rules = rules
        self._ground_truth = read_ground_truth(Path(annotations), layout=rules.layout)
        self._category_ids = tuple(
            None if identity is None else require_int(f"category_ids[{index}]", identity)
            for index, identity in enumerate(category_ids)
        )
        _check_categories(self._category_ids, self._ground_truth)
        self._evaluated: tuple[GroundTruth, CocoDetections] | None = None
        for name in _STATES:
            self.add_state(name, default=[], dist_reduce_fx=None)

    def update(self, detections: Detections, image_ids: Tensor) -> None:
        """Add a batch.

        Args:
            detections: Of B images, in pixels of the original images.
            image_ids: ``[B]`` ids in the annotation file.
        """
        num_images = detections.is_detection.shape[0]
        if tuple(image_ids.shape) != (num_images,):
            raise ValueError(f"image_ids must have shape ({num_images},), got {tuple(image_ids.shape)}")
        # Cloned: a compiled model may write its next output into the same memory, and a view keeps
        # its base alive.
        self.image_ids.append(image_ids.detach().clone())
        self.boxes.append(detections.boxes.detach().clone())
        self.scores.append(detections.scores.detach().clone())
        self.labels.append(detections.labels.detach().clone())
        self.is_detection.append(detections.is_detection.detach().clone())

    def compute(self) -> Result:
        """Evaluate what all ranks have added since the last ``reset``; every rank must call this.

        Returns:
            The same result on every rank. It is not kept: a second call evaluates again.

        Raises:
            ValueError: On the first rank (RuntimeError on the others): a box or score is not finite, a
                label is no class index, an image is not in the annotation file or, if expected, missing.
        """
        parts = gather_to_first_rank(self._collected())
        return run_on_first_rank(lambda: self._evaluate(FlatDetections.concatenate(parts)))

    def records(self) -> list[dict[str, Any]]:
        """Detections of the latest ``compute`` as entries of COCO's result file; ``reset`` keeps them.

        Raises:
            ValueError: ``compute`` was never called, or this is not the first rank, which alone has them.
        """
        return self.latest()[1].records()

    def latest(self) -> tuple[GroundTruth, CocoDetections]:
        """Ground truth and detections of the latest ``compute``; ``reset`` keeps them.

        Raises:
            ValueError: As for ``records``.
        """
        if self._evaluated is None:
            raise ValueError("compute must be called before records or matches, and these on the first rank only")
        return self._evaluated

    def _collected(self) -> FlatDetections:
        batches = zip(self.boxes, self.scores, self.labels, self.is_detection, self.image_ids, strict=True)
        return FlatDetections.concatenate(
            [
                FlatDetections.from_detections(Detections(boxes, scores, labels, is_detection), image_ids)
                for boxes, scores, labels, is_detection, image_ids in batches
            ]
        )

    def _evaluate(self, collected: FlatDetections) -> Result:
        collected.check_finite()
        flat = collected.without_repeats()
        ground_truth = self._seen_ground_truth(flat.image_ids)
        detections = flat.to_categories(self._category_ids)
        self._evaluated = ground_truth, detections
        num_repeats = len(collected.image_ids) - len(flat.image_ids)
        return self._rules.evaluate(ground_truth, detections, num_repeats=num_repeats).result

    def _seen_ground_truth(self, image_ids: NDArray[np.int64]) -> GroundTruth:
        path, listed = self._ground_truth.path, self._ground_truth.image_ids
        unknown = np.setdiff1d(image_ids, listed)
        if len(unknown):
            raise ValueError(
                f"image_ids must be listed in {path}, {len(unknown)} are not: {name_some(unknown)}; "
                "the evaluator and the data must use the same split"
            )
        missing = np.setdiff1d(listed, image_ids)
        if len(missing) and self.expect_all_images:
            raise ValueError(
                f"all {len(listed)} images of {path} must be evaluated, {len(missing)} are missing: "
                f"{name_some(missing)}; set expect_all_images=False to evaluate a part"
            )
        if not len(image_ids):
            raise ValueError("at least one image must be evaluated, update was never called")
        return self._ground_truth.restricted_to(image_ids)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # In place of torchmetrics' wrapper, which synchronises, warns on a rank that had no image, and
        # fails to copy a frozen result.
        return torch.no_grad()(compute)


class CocoEvaluator(DetectionEvaluator[CocoResult]):
    """COCO average precision and recall of box detections.

    Args:
        annotations: COCO annotation file of the evaluated split.
        category_ids: Category id of every class index of the model, in order; None for a class that
            stands for no category (published checkpoints have such slots).
        engine: ``pycocotools``, ``faster_coco_eval`` (``pip install faster-coco-eval``) or ``hotcoco``
            (``pip install hotcoco``).
        max_detections: Most detections per image and category, at least 10; papers use 100.
        expect_all_images: See ``DetectionEvaluator``.

    Raises:
        ValueError: See ``DetectionEvaluator``; or another argument is out of its range.
        ModuleNotFoundError: The engine's package is not installed.
    """

    def __init__(
        self,
        *,
        annotations: Path,
        category_ids: Sequence[int | None],
        engine: str = "pycocotools",
        max_detections: int = 100,
        expect_all_images: bool = True,
    ) -> None:
        super().__init__(
            rules=CocoRules(engine=engine, max_detections=max_detections),
            annotations=annotations,
            category_ids=category_ids,
            expect_all_images=expect_all_images,
        )

    def matches(self) -> ImageMatches:
        """What the latest ``compute`` found in each image, from which AP of any choice of images follows.

        Raises:
            ValueError: As for ``records``.
        """
        return match_images(*self.latest(), max_detections=self._rules.max_detections)


def _check_categories(category_ids: Sequence[int | None], ground_truth: GroundTruth) -> None:
    mapped = [identity for identity in category_ids if identity is not None]
    unknown = sorted(set(mapped) - set(ground_truth.category_ids))
    if unknown:
        raise ValueError(
            f"category_ids must be listed in {ground_truth.path}, {len(unknown)} are not: {unknown[:5]}; "
            "give None for a class that stands for no category"
        )
    if len(set(mapped)) != len(mapped):
        twice = sorted({identity for identity in mapped if mapped.count(identity) > 1})
        raise ValueError(f"category_ids must name each category once, {twice[:5]} occur again")
    left = [
        name
        for identity, name in zip(ground_truth.category_ids, ground_truth.category_names, strict=True)
        if identity not in mapped
    ]
    if left:
        logger.warning(
            "%s of %s without a class of the model, whose objects count as missed: %s",
            counted(len(left), "category", "categories"),
            ground_truth.path,
            ", ".join(left[:5]),
        )
