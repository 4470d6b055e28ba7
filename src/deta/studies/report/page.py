"""The page of a comparison: one HTML file with its style, scripts, data and pictures inside."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from deta.studies.ablation import ablation_table, all_runs, runs_table
from deta.studies.labels import label, level_of, shown_axes
from deta.studies.report import sections
from deta.studies.report.cost import cost_plot
from deta.studies.report.curves import instability, learning_curves
from deta.studies.report.heat_map import heat_map
from deta.studies.report.markup import cells_table, escaped, runs_table_markup
from deta.studies.report.pictures import pictured_images
from deta.studies.report.plots import Plot, to_json
from deta.studies.report.seeds import scores_of_seeds
from deta.studies.report.sizes import positives_by_size
from deta.studies.report.trainings import trainings
from deta.studies.results import Comparison
from deta.studies.tables import Table

SCRIPTS = ("filters.js", "sorting.js", "charts.js", "start.js")


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
    return Template(_asset("page.html")).substitute(
        name=escaped(comparison.name),
        title=escaped(comparison.title),
        eyebrow=escaped(comparison.name) if comparison.name != comparison.title else "",
        version=escaped(version("deta")),
        style=_asset("page.css"),
        base=sections.base_line(comparison),
        tiles=sections.tiles(comparison),
        banner=sections.banner(comparison.beyond),
        notes=sections.note_list([note for note in comparison.notes if note not in comparison.beyond]),
        filters=sections.filters(comparison),
        table=cells_table(comparison, table, groups),
        reading=sections.bullets([note for note in table.notes if note not in comparison.notes], "reading"),
        files=sections.downloads(table),
        plots=sections.frames(plots),
        absent=sections.absences(plots),
        pictures=sections.picture_section(groups, pictured_images(groups)),
        runs=runs_table_markup(runs, _cells_of_runs(comparison)),
        data=_embedded(_data(comparison, table, plots)),
        plotly=get_plotlyjs(),
        script="\n".join(_asset(name) for name in SCRIPTS),
    )


def _asset(name: str) -> str:
    return (files("deta.studies.report") / "assets" / name).read_text(encoding="utf-8")


def _embedded(content: object) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _data(comparison: Comparison, table: Table, plots: Sequence[Plot]) -> dict[str, Any]:
    axes = shown_axes(comparison)
    cells = []
    for cell, row in zip(comparison.cells, table.rows, strict=True):
        levels = [level_of(cell, axis.name) for axis in axes]
        places = [-1 if level is None else axis.levels.index(level) for axis, level in zip(axes, levels, strict=True)]
        words = [label(comparison, cell), *(entry.text for entry in row), *(run.folder.name for run in cell.runs)]
        cells.append({"levels": places, "complete": cell.is_complete, "text": " ".join(words).lower()})
    return {
        "name": comparison.name,
        "axes": [axis.name for axis in axes],
        "cells": cells,
        "plots": [to_json(plot) for plot in plots],
    }


def _cells_of_runs(comparison: Comparison) -> list[list[int]]:
    """For each run the places of its cells."""
    folders = [{run.folder for run in cell.runs} for cell in comparison.cells]
    return [[k for k, members in enumerate(folders) if run.folder in members] for run in all_runs(comparison)]
