"""The metric of LVIS: rare, common and frequent categories, and only what was looked for in each image."""

from collections.abc import Sequence
from pathlib import Path

from deta.engine.evaluation.detections import CocoDetections
from deta.engine.evaluation.engines import evaluate_lvis, load_engine
from deta.engine.evaluation.ground_truth import GroundTruth
from deta.engine.evaluation.lvis_result import LvisResult
from deta.engine.evaluation.metric import DetectionEvaluator
from deta.utils.checks import require_int


class LvisEvaluator(DetectionEvaluator[LvisResult]):
    """Average precision of box detections by the rules of LVIS.

    A detection counts only if its category is annotated in the image or known to be absent; a false one of a category
    that is not annotated exhaustively there does not count; and of all detections of an image the best
    ``max_detections`` are taken. Source: arXiv:1908.03195, sec. 3 and 4.2. The engine is faster-coco-eval
    (``pip install faster-coco-eval``): the package of LVIS's authors does not run with NumPy 1.24 or newer.

    Args:
        annotations: LVIS annotation file of the evaluated split.
        category_ids: Category id of every class index of the model, in order; None for a class that
            stands for no category.
        max_detections: Most detections per image, at least 1; papers use 300.
        expect_all_images: See ``DetectionEvaluator``.

    Raises:
        ValueError: See ``DetectionEvaluator``.
        ModuleNotFoundError: The engine's package is not installed.
    """

    def __init__(
        self,
        *,
        annotations: Path,
        category_ids: Sequence[int | None],
        max_detections: int = 300,
        expect_all_images: bool = True,
    ) -> None:
        load_engine("faster_coco_eval")
        require_int("max_detections", max_detections, low=1)
        super().__init__(
            annotations=annotations, category_ids=category_ids, expect_all_images=expect_all_images, layout="lvis"
        )
        self._max_detections = max_detections

    def _score(self, ground_truth: GroundTruth, detections: CocoDetections, *, num_repeats: int) -> LvisResult:
        best = detections.best_of_images(self._max_detections)
        curves = evaluate_lvis(ground_truth, best, max_detections=self._max_detections)
        return LvisResult.from_curves(
            curves,
            ground_truth,
            num_detections=len(best),
            num_unmapped=detections.num_unmapped,
            num_repeats=num_repeats,
            max_detections=self._max_detections,
        )
