"""Everything that an evaluation can be asked, as tables and charts in a folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from deta.engine.evaluation import CocoDetections, CocoResult, Curves, GroundTruth, evaluate
from deta.engine.evaluation.breakdown import (
    RECALLS,
    by_category,
    by_size,
    precision_by_iou,
    precision_by_size,
    recall_rows,
)
from deta.engine.evaluation.errors import ErrorAnalysis, analyse_errors
from deta.engine.evaluation_figures import category_figure, error_figure, precision_recall_figure, size_figure
from deta.engine.figure_style import save_figure
from deta.engine.tracking import write_csv


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation with its analysis.

    Attributes:
        ground_truth: What was to be found.
        curves: Precision and recall by IoU, recall, category and size.
        result: COCO's twelve numbers.
        errors: The mistakes at IoU 0.50 by kind.
    """

    ground_truth: GroundTruth
    curves: Curves
    result: CocoResult
    errors: ErrorAnalysis

    def error_table(self) -> str:
        """One line per kind of mistake: name, number, what repairing it would add to AP50."""
        rows = [f"{kind.name:<11} {kind.count:>9}  {kind.gain:>+8.4f}" for kind in self.errors.kinds]
        return "\n".join([f"{'mistake':<11} {'number':>9}  {'AP50':>8}", *rows])

    def write(self, folder: Path) -> None:
        """Write ``metrics.json``, CSV tables and, below ``figures/``, charts."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(self.result.metrics(), indent=2) + "\n")
        categories, sizes = by_category(self.curves, self.ground_truth), by_size(self.curves, self.ground_truth)
        ids = self.ground_truth.category_ids
        write_csv(folder / "categories.csv", [{"id": i, **p.row()} for i, p in zip(ids, categories, strict=True)])
        write_csv(folder / "sizes.csv", [part.row() for part in sizes])
        self._write_curves(folder)
        self._write_errors(folder)
        figures = {
            "categories": category_figure(categories),
            "sizes": size_figure(sizes),
            "precision_recall": precision_recall_figure(precision_by_iou(self.curves), precision_by_size(self.curves)),
            "errors": error_figure(self.errors),
        }
        for name, figure in figures.items():
            save_figure(figure, folder / "figures" / f"{name}.png")

    def _write_curves(self, folder: Path) -> None:
        columns = {f"IoU {iou:.2f}": curve for iou, curve in precision_by_iou(self.curves).items()}
        columns |= {f"IoU 0.50 {name}": curve for name, curve in precision_by_size(self.curves).items()}
        rows = [
            {"recall": round(float(recall), 2), **{name: float(curve[k]) for name, curve in columns.items()}}
            for k, recall in enumerate(RECALLS)
        ]
        write_csv(folder / "precision_recall.csv", rows)
        write_csv(folder / "precision_recall_categories.csv", recall_rows(self.curves, self.ground_truth))

    def _write_errors(self, folder: Path) -> None:
        kinds = [{"kind": kind.name, "number": kind.count, "gain_AP50": kind.gain} for kind in self.errors.kinds]
        totals = {
            "all false positives": self.errors.false_positive_gain,
            "all false negatives": self.errors.false_negative_gain,
        }
        write_csv(folder / "errors.csv", [*kinds, *({"kind": k, "gain_AP50": gain} for k, gain in totals.items())])
        truth = self.ground_truth
        rows = [
            {"id": identity, "name": name, **{kind.name: int(kind.per_class[k]) for kind in self.errors.kinds}}
            for k, (identity, name) in enumerate(zip(truth.category_ids, truth.category_names, strict=True))
        ]
        write_csv(folder / "errors_categories.csv", rows)


def report(
    ground_truth: GroundTruth, detections: CocoDetections, *, engine: str, max_detections: int, num_repeats: int = 0
) -> EvaluationReport:
    """Evaluate and analyse.

    Args:
        ground_truth: Of the images to evaluate.
        detections: Of the same images.
        engine: See ``evaluate``.
        max_detections: Most detections per image and category.
        num_repeats: Images that arrived again and were left out, for the table.
    """
    curves = evaluate(ground_truth, detections, engine=engine, max_detections=max_detections)
    result = CocoResult.from_curves(
        curves,
        ground_truth,
        num_detections=len(detections),
        num_unmapped=detections.num_unmapped,
        num_repeats=num_repeats,
        max_detections=max_detections,
    )
    errors = analyse_errors(ground_truth, detections, max_detections=max_detections)
    return EvaluationReport(ground_truth, curves, result, errors)
