"""The rules of COCO and of LVIS: which detections take part, which program matches them, which numbers result."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from deta.data.image_rows import Layout
from deta.evaluation.detections import CocoDetections
from deta.evaluation.engines import Curves, evaluate, evaluate_lvis, load_engine
from deta.evaluation.ground_truth import GroundTruth
from deta.evaluation.lvis_result import LvisResult
from deta.evaluation.result import CocoResult, DetectionResult
from deta.utils.checks import require_int

Result = TypeVar("Result", bound=DetectionResult)


@dataclass(frozen=True)
class Evaluation(Generic[Result]):
    """An evaluation and what it was made of.

    Attributes:
        ground_truth: What was to be found.
        detections: Those that took part.
        curves: Precision and recall by IoU, recall, category and size.
        result: The numbers.
    """

    ground_truth: GroundTruth
    detections: CocoDetections
    curves: Curves
    result: Result


@dataclass(frozen=True, kw_only=True)
class Rules(ABC, Generic[Result]):
    """How detections are scored.

    Attributes:
        layout: Of the annotation files that say what the rules need.
        max_detections: Most detections that take part.
    """

    layout: ClassVar[Layout]
    max_detections: int

    @abstractmethod
    def evaluate(
        self, ground_truth: GroundTruth, detections: CocoDetections, *, num_repeats: int = 0
    ) -> Evaluation[Result]:
        """Evaluate.

        Args:
            ground_truth: Of the images to evaluate.
            detections: Of the same images, in any order of images; equal scores of an image keep their order.
            num_repeats: Images that arrived again and were left out, for the report.
        """


@dataclass(frozen=True, kw_only=True)
class CocoRules(Rules[CocoResult]):
    """Every category counts in every image.

    Attributes:
        engine: One of ``ENGINE_NAMES``.
        max_detections: Most detections per image and category, at least 10.
    """

    layout: ClassVar[Layout] = "coco"
    engine: str = "pycocotools"
    max_detections: int = 100

    def __post_init__(self) -> None:
        load_engine(self.engine)
        require_int("max_detections", self.max_detections, low=10)

    def evaluate(
        self, ground_truth: GroundTruth, detections: CocoDetections, *, num_repeats: int = 0
    ) -> Evaluation[CocoResult]:
        """COCO's twelve numbers, over all classes and by class."""
        curves = evaluate(ground_truth, detections, engine=self.engine, max_detections=self.max_detections)
        result = CocoResult.from_curves(
            curves,
            ground_truth,
            num_detections=len(detections),
            num_unmapped=detections.num_unmapped,
            num_repeats=num_repeats,
            max_detections=self.max_detections,
        )
        return Evaluation(ground_truth, detections, curves, result)


@dataclass(frozen=True, kw_only=True)
class LvisRules(Rules[LvisResult]):
    """A detection counts only where its category was looked for.

    That is: if the category is annotated in the image or known to be absent; and a false one of a category that is not
    annotated exhaustively there does not count. Of all detections of an image the best ``max_detections`` take part.
    Source: arXiv:1908.03195, sec. 3 and 4.2. The engine is faster-coco-eval (``pip install faster-coco-eval``): the
    package of LVIS's authors does not run with NumPy 1.24 or newer.

    Attributes:
        max_detections: Most detections per image, at least 1.
    """

    layout: ClassVar[Layout] = "lvis"
    max_detections: int = 300

    def __post_init__(self) -> None:
        load_engine("faster_coco_eval")
        require_int("max_detections", self.max_detections, low=1)

    def evaluate(
        self, ground_truth: GroundTruth, detections: CocoDetections, *, num_repeats: int = 0
    ) -> Evaluation[LvisResult]:
        """The thirteen numbers of LVIS, of the best ``max_detections`` of an image."""
        best = detections.best_of_images(self.max_detections)
        curves = evaluate_lvis(ground_truth, best, max_detections=self.max_detections)
        result = LvisResult.from_curves(
            curves,
            ground_truth,
            num_detections=len(best),
            num_unmapped=detections.num_unmapped,
            num_repeats=num_repeats,
            max_detections=self.max_detections,
        )
        return Evaluation(ground_truth, best, curves, result)
