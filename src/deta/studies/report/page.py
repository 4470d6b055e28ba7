"""The page of a comparison: one HTML file with its style, scripts, data and pictures inside."""

import base64
import gzip
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from deta import __version__
from deta.studies.ablation import SEEDS_TITLE, ablation_table, runs_table
from deta.studies.labels import label, level_of, shown_axes
from deta.studies.report.cost import cost_plot
from deta.studies.report.curves import instability, learning_curves
from deta.studies.report.facts import facts
from deta.studies.report.heat_map import heat_map
from deta.studies.report.pictures import pictures
from deta.studies.report.plots import to_json
from deta.studies.report.rows import STRIP_SIZE, cell_rows, run_rows, scale_of
from deta.studies.report.seeds import scores_of_seeds
from deta.studies.report.sizes import positives_by_size
from deta.studies.report.trainings import DASHES, trainings
from deta.studies.results import Axis, Comparison
from deta.studies.tables import Table, formats
from deta.utils.wording import counted

_NUM_OPEN_NOTES = 6


def page(comparison: Comparison) -> str:
    """The whole page."""
    groups = trainings(comparison)
    plots = (
        learning_curves(groups),
        scores_of_seeds(comparison, groups),
        heat_map(comparison),
        positives_by_size(groups),
        instability(groups),
        cost_plot(comparison, groups),
    )
    table, runs = ablation_table(comparison), runs_table(comparison)
    pictured, axes = pictures(groups), shown_axes(comparison)
    data = {
        "name": comparison.name,
        "cells": _cells(comparison, table, axes),
        "plots": [to_json(plot) for plot in plots],
        "dashes": DASHES,
        "pictures": pictured.to_json(groups),
        "tables": {"cells": _written(table, "table"), "runs": _written(runs, "runs")},
    }
    return (
        _environment()
        .get_template("page.html")
        .render(
            comparison=comparison,
            facts=facts(comparison),
            notes=[note for note in comparison.notes if note not in comparison.beyond],
            axes=axes,
            columns=table.columns,
            cells=cell_rows(comparison, table, groups),
            scale=scale_of(comparison.cells).ends(),
            reading=[note for note in table.notes if note not in comparison.notes],
            plots=plots,
            pictured=pictured,
            run_columns=runs.columns,
            runs=run_rows(comparison, runs),
            data=data,
            plotly=_packed_plotly(),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("deta.studies.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    environment.globals |= {
        "asset": _asset,
        "counted": counted,
        "dashes": DASHES,
        "num_open_notes": _NUM_OPEN_NOTES,
        "seeds_title": SEEDS_TITLE,
        "strip_size": STRIP_SIZE,
        "version": __version__,
    }
    return environment


def _asset(*names: str) -> Markup:
    """Our own files, one behind the other."""
    folder = files("deta.studies.report") / "assets"
    return Markup("\n").join(Markup((folder / name).read_text(encoding="utf-8")) for name in names)


@cache
def _packed_plotly() -> str:
    """plotly.js as the page unpacks it: it is two thirds smaller so."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _cells(comparison: Comparison, table: Table, axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """For the filter: levels, whether a cell is complete, and in what words are looked for."""
    cells = []
    for cell, row in zip(comparison.cells, table.rows, strict=True):
        words = [label(comparison, cell), *(entry.text for entry in row), *(run.folder.name for run in cell.runs)]
        levels = [level_of(cell, axis.name) for axis in axes]
        cells.append({"levels": levels, "complete": cell.is_complete, "text": " ".join(words).lower()})
    return cells


def _written(table: Table, name: str) -> dict[str, Any]:
    """The table in every format, row by row, since the page writes those rows that are shown."""
    written = {
        ending: {"head": text.head, "rows": text.rows, "foot": text.foot} for ending, text in formats(table).items()
    }
    return {"name": name, "formats": written}
