"""The metric of LVIS: rare, common and frequent categories, and only what was looked for in each image."""

from collections.abc import Sequence
from pathlib import Path

from deta.evaluation.lvis_result import LvisResult
from deta.evaluation.metric import DetectionEvaluator
from deta.evaluation.rules import LvisRules


class LvisEvaluator(DetectionEvaluator[LvisResult]):
    """Average precision of box detections by the rules of LVIS, see ``LvisRules``.

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
        super().__init__(
            rules=LvisRules(max_detections=max_detections),
            annotations=annotations,
            category_ids=category_ids,
            expect_all_images=expect_all_images,
        )
