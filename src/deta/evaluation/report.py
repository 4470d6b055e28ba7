"""Everything that an evaluation can be asked, as tables and charts in a folder."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deta.drawing.style import draw
from deta.evaluation import CocoDetections, Evaluation, GroundTruth, Rules
from deta.evaluation.breakdown import (
    by_category,
    by_size,
    precision_by_iou,
    precision_by_size,
    recall_rows,
)
from deta.evaluation.charts import category_figure, error_figure, precision_recall_figure, size_figure
from deta.evaluation.class_charts import write_class_curves
from deta.evaluation.errors import ErrorAnalysis, analyse_errors
from deta.evaluation.precision import RECALLS
from deta.utils.files import write_json
from deta.utils.tables import write_csv
from deta.utils.wording import points


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation with its analysis.

    Attributes:
        evaluation: The numbers and their curves.
        errors: The mistakes at IoU 0.50 by kind.
    """

    evaluation: Evaluation[Any]
    errors: ErrorAnalysis

    def error_table(self) -> str:
        """One line per kind of mistake: name, number, what repairing it would add to AP50."""
        rows = [f"{kind.name:<11} {kind.count:>9}  {points(kind.gain, has_sign=True):>8}" for kind in self.errors.kinds]
        return "\n".join([f"{'mistake':<11} {'number':>9}  {'AP50':>8}", *rows])

    def write(self, folder: Path) -> None:
        """Write ``metrics.json``, CSV tables and, below ``figures/``, charts."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "metrics.json", self.evaluation.result.metrics())
        truth, curves = self.evaluation.ground_truth, self.evaluation.curves
        categories, sizes = by_category(curves, truth), by_size(curves, truth)
        rows = [{**row, **part.row()} for row, part in zip(truth.categories(), categories, strict=True)]
        write_csv(folder / "categories.csv", rows)
        write_csv(folder / "sizes.csv", [part.row() for part in sizes])
        self._write_curves(folder)
        self._write_errors(folder)
        figures = {
            "categories": partial(category_figure, categories),
            "sizes": partial(size_figure, sizes),
            "precision_recall": partial(precision_recall_figure, precision_by_iou(curves), precision_by_size(curves)),
            "errors": partial(error_figure, self.errors),
        }
        for name, figure in figures.items():
            draw(figure, folder / "figures" / f"{name}.png")
        write_class_curves(
            folder, truth, self.evaluation.detections, max_detections=self.evaluation.result.max_detections
        )

    def _write_curves(self, folder: Path) -> None:
        curves = self.evaluation.curves
        columns = {f"IoU {iou:.2f}": curve for iou, curve in precision_by_iou(curves).items()}
        columns |= {f"IoU 0.50 {name}": curve for name, curve in precision_by_size(curves).items()}
        rows = [
            {"recall": round(float(recall), 2), **{name: float(curve[k]) for name, curve in columns.items()}}
            for k, recall in enumerate(RECALLS)
        ]
        write_csv(folder / "precision_recall.csv", rows)
        write_csv(folder / "precision_recall_categories.csv", recall_rows(curves, self.evaluation.ground_truth))

    def _write_errors(self, folder: Path) -> None:
        kinds = [{"kind": kind.name, "number": kind.count, "gain_AP50": kind.gain} for kind in self.errors.kinds]
        totals = {
            "all false positives": self.errors.false_positive_gain,
            "all false negatives": self.errors.false_negative_gain,
        }
        write_csv(folder / "errors.csv", [*kinds, *({"kind": k, "gain_AP50": gain} for k, gain in totals.items())])
        rows = [
            {**category, **{kind.name: int(kind.per_class[k]) for kind in self.errors.kinds}}
            for k, category in enumerate(self.evaluation.ground_truth.categories())
        ]
        write_csv(folder / "errors_categories.csv", rows)


def report(ground_truth: GroundTruth, detections: CocoDetections, *, rules: Rules[Any]) -> EvaluationReport:
    """Evaluate and analyse.

    Args:
        ground_truth: Of the images to evaluate.
        detections: Of the same images.
        rules: Those of the ground truth's layout.
    """
    evaluation = rules.evaluate(ground_truth, detections)
    errors = analyse_errors(ground_truth, evaluation.detections, max_detections=rules.max_detections)
    return EvaluationReport(evaluation, errors)
