"""Charts hold the numbers of the table, and leave the rest of the process alone."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from deta.analysis.run_charts import (
    assignment_statistics,
    learning_curve,
    read_rows,
    write_run_figures,
)
from deta.drawing.series import series
from deta.drawing.style import save_figure
from deta.structures import SIZE_NAMES

RUN: list[dict[str, object]] = [
    {"epoch": 0, "step": 0, "train/loss": 9.0, "val/AP": None},
    {"epoch": 0, "step": 50, "train/loss": "7.0", "val/AP": ""},
    {"epoch": 0, "step": 99, "val/loss": 6.0, "val/AP": 0.1, "val/AP50": 0.2, "val/APs": float("nan")},
    {"epoch": 1, "step": 100, "train/loss": 5.0},
    {"epoch": 1, "step": 199, "val/loss": 4.0, "val/AP": "0.3", "val/AP50": 0.5},
]


def assignment_rows(num_epochs: int = 3) -> list[dict[str, object]]:
    """Statistics of both stages; no large object in the first stage."""
    rows: list[dict[str, object]] = []
    for epoch in range(num_epochs):
        row: dict[str, object] = {"epoch": epoch, "step": 10 * epoch, "train/loss": 1.0}
        for stage in ("layers", "proposals"):
            for number, size in enumerate(SIZE_NAMES):
                if (stage, size) != ("proposals", "large"):
                    row[f"assign/{stage}/positives_per_object_{size}"] = number + 1 + epoch
                    row[f"assign/{stage}/unmatched_share_{size}"] = 0.1 * number
                    row[f"assign/{stage}/mean_iou_{size}"] = 0.7
        rows.append(row)
    return rows


def curves(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Labelled lines as points."""
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.get_lines()}
    return {label: [(x, y) for x, y in points.tolist()] for label, points in lines.items() if label[0] != "_"}


def test_the_learning_curve_shows_losses_and_precision() -> None:
    left, right = learning_curve(RUN, title="a run").axes
    assert curves(left) == {"train loss": [(1, 8), (2, 5)], "val loss": [(1, 6), (2, 4)]}
    assert curves(right) == {"AP": [(1, 10), (2, 30)], "AP50": [(1, 20), (2, 50)]}
    assert [axes.get_xlabel() for axes in (left, right)] == ["epochs", "epochs"]
    assert left.get_ylabel()
    assert "points" in right.get_ylabel()


def test_the_learning_curve_may_run_over_steps() -> None:
    left, right = learning_curve(RUN, x="step").axes
    assert curves(right)["AP"] == [(99, 10), (199, 30)]
    assert left.get_xlabel() == "training steps"


def test_long_curves_are_smoothed_over_their_raw_values() -> None:
    rows = [{"step": step, "train/loss": 5.0 + (-1) ** step} for step in range(200)]
    raw, smooth = learning_curve(rows, x="step").axes[0].get_lines()
    assert np.ptp(np.asarray(raw.get_ydata())) == 2
    assert np.ptp(np.asarray(smooth.get_ydata())) < 0.5
    assert np.asarray(smooth.get_ydata()).mean() == pytest.approx(5, abs=0.01)


def test_the_assignment_has_a_row_per_stage_and_a_curve_per_size() -> None:
    axes = assignment_statistics(assignment_rows()).axes
    assert len(axes) == 6
    assert [axes[0].get_title(loc="left"), axes[3].get_title(loc="left")] == [
        "first stage (proposals)",
        "second stage (decoder)",
    ]
    assert curves(axes[0]) == {"small": [(1, 1), (2, 2), (3, 3)], "medium": [(1, 2), (2, 3), (3, 4)]}
    assert list(curves(axes[4])) == ["small", "medium", "large"]
    assert axes[4].get_ylim() == (0, 1)


def test_a_size_has_one_colour_in_every_chart() -> None:
    figure = assignment_statistics(assignment_rows())
    small = {line.get_color() for axes in figure.axes for line in axes.get_lines() if line.get_label() == "small"}
    assert len(small) == 1


def test_a_run_of_one_epoch_can_be_drawn(tmp_path: Path) -> None:
    save_figure(assignment_statistics(assignment_rows(1)), tmp_path / "one.png")
    save_figure(learning_curve(RUN[:3]), tmp_path / "two.png")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_figures_become_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"curve.{ending}"
    save_figure(learning_curve(RUN, title="a run"), path, dpi=50)
    if ending == "png":
        with Image.open(path) as image:
            assert image.size == (500, 190)
            assert len(set(image.convert("L").tobytes())) > 10  # lines and text, not one colour
    else:
        assert "<svg" in path.read_text()


def test_a_run_directory_gets_the_figures_that_its_table_allows(tmp_path: Path) -> None:
    assert write_run_figures(tmp_path) == []
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,train/loss\n0,5,\n")
    assert write_run_figures(tmp_path) == []
    table.write_text("epoch,step,train/loss,val/AP\n0,5,2.5,\n0,9,,0.25\n")
    assert write_run_figures(tmp_path) == [tmp_path / "figures/learning_curve.png"]
    assert [series(read_rows(table), key)[1].tolist() for key in ("train/loss", "val/AP")] == [[2.5], [0.25]]
    table.write_text("epoch,step,train/loss,assign/layers/mean_iou_small\n0,5,2.5,0.7\n")
    names = [path.name for path in write_run_figures(tmp_path) if path.is_file()]
    assert names == ["learning_curve.png", "assignment.png"]


def test_a_table_without_the_numbers_is_named() -> None:
    with pytest.raises(ValueError, match="got the keys lr, step"):
        learning_curve([{"step": 1, "lr": 2}])
    with pytest.raises(ValueError, match="got the keys none"):
        assignment_statistics([])
    with pytest.raises(ValueError, match="x must be one of epoch, step"):
        learning_curve(RUN, x="time")


def test_global_state_of_matplotlib_stays_as_it_is() -> None:
    before = dict(mpl.rcParams)
    figure = learning_curve(RUN)
    assert dict(mpl.rcParams) == before
    assert figure.canvas.manager is None  # pyplot does not know it
    assert type(figure.canvas).__name__ == "FigureCanvasAgg"
