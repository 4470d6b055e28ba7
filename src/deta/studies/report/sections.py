"""Parts of the page around its table: head, filter, frames of the charts, pictures."""

import base64
import math
from collections.abc import Callable, Sequence

from deta.studies.ablation import all_runs, device_hours, hours_text
from deta.studies.labels import shown_axes
from deta.studies.report.markup import attributes, escaped, swatch
from deta.studies.report.pictures import PicturedImage
from deta.studies.report.plots import Plot
from deta.studies.report.trainings import Training
from deta.studies.results import Comparison, Cost, Run
from deta.studies.tables import Table, formats
from deta.utils.wording import counted

_NUM_OPEN_NOTES = 6
_MEDIA = {"csv": "text/csv", "md": "text/markdown", "tex": "text/x-tex"}


def base_line(comparison: Comparison) -> str:
    """What the cells are compared with; empty where there is no base."""
    levels = " · ".join(f"{escaped(axis)} <b>{escaped(level)}</b>" for axis, level in comparison.base.items())
    return f"Base: {levels}" if levels else ""


def tiles(comparison: Comparison) -> str:
    """What was planned, what is done and what it took."""
    runs = all_runs(comparison)
    started = [run for run in runs if run.cost is not None]
    done = sum(run.is_done for run in runs)
    complete = sum(cell.is_complete for cell in comparison.cells)
    found = [
        ("runs done", f"{done} of {len(runs)}"),
        ("cells complete", f"{complete} of {len(comparison.cells)}"),
        ("seeds of a cell", _span_of([len(cell.runs) for cell in comparison.cells])),
    ]
    if started:
        found += [
            ("epochs of a run", _span(runs, lambda cost: cost.num_epochs)),
            ("steps of a run", _span(runs, lambda cost: cost.num_steps)),
            ("device hours, all runs", hours_text(math.fsum(device_hours(run) for run in started))),
            ("devices", ", ".join(sorted({run.cost.device for run in started if run.cost}))),
        ]
    return "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(text)}</dd></div>" for name, text in found)


def _span(runs: Sequence[Run], value: Callable[[Cost], int]) -> str:
    """The value of the runs that are done, of all runs while none is."""
    done = [run for run in runs if run.is_done] or list(runs)
    return _span_of([value(run.cost) for run in done if run.cost is not None])


def _span_of(values: Sequence[int]) -> str:
    ends = sorted(set(values))
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}" if ends else ""


def banner(beyond: Sequence[str]) -> str:
    """What differs beside the axes, which no reader may overlook; empty where nothing does."""
    if not beyond:
        return ""
    heading = "<b>These runs differ in more than the axes</b>"
    return f'<div class="banner" role="note">{heading}{bullets(beyond, "beyond")}</div>'


def note_list(notes: Sequence[str]) -> str:
    """What a reader must know; of many notes the first few, the others behind a click."""
    if len(notes) <= _NUM_OPEN_NOTES:
        return bullets(notes, "notes")
    others = bullets(notes[_NUM_OPEN_NOTES:], "notes")
    summary = f"<summary>{counted(len(notes) - _NUM_OPEN_NOTES, 'more note')}</summary>"
    return f'{bullets(notes[:_NUM_OPEN_NOTES], "notes")}<details class="more">{summary}{others}</details>'


def bullets(sentences: Sequence[str], name: str) -> str:
    """A list of the class ``name``; empty without sentences."""
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{name}">{items}</ul>' if items else ""


def filters(comparison: Comparison) -> str:
    """A box for every level of every axis that has several."""
    fields = []
    for place, axis in enumerate(shown_axes(comparison)):
        boxes = "".join(
            f'<label class="chip"><input type="checkbox" name="axis-{place}" value="{number}" checked>'
            f"<span>{escaped(level)}</span></label>"
            for number, level in enumerate(axis.levels)
        )
        hidden = "" if len(axis.levels) > 1 else " hidden"
        fields.append(f"<fieldset{hidden}><legend>{escaped(axis.name)}</legend>{boxes}</fieldset>")
    return "\n".join(fields)


def downloads(table: Table) -> str:
    """Links that save the table in each format; the files lie inside the page."""
    links = []
    for ending, written in formats(table).items():
        source = f"data:{_MEDIA[ending]};charset=utf-8;base64,{base64.b64encode(written.encode()).decode()}"
        links.append(f"<a{attributes(download=f'table.{ending}', href=source)}>{ending}</a>")
    return f"This table as {', '.join(links)}."


def frames(plots: Sequence[Plot]) -> str:
    """Where the charts are drawn."""
    return "".join(_frame(plot) for plot in plots if plot.views)


def absences(plots: Sequence[Plot]) -> str:
    """Which charts there are not, and why."""
    reasons = [f"{plot.title}: {plot.absent}" for plot in plots if not plot.views]
    return f'<section id="absent"><h2>Not shown</h2>{bullets(reasons, "reasons")}</section>' if reasons else ""


def _frame(plot: Plot) -> str:
    return (
        f'<figure class="plot" id="plot-{plot.name}"><h2>{escaped(plot.title)}</h2><div class="controls"></div>'
        f'<div class="chart" role="group" aria-label="{escaped(plot.title)}"></div>'
        '<p class="empty nothing" hidden>No cell that passes the filter has these data.</p>'
        f'<ul class="legend"></ul><figcaption class="caption">{escaped(plot.caption)}</figcaption></figure>'
    )


def picture_section(groups: Sequence[Training], images: Sequence[PicturedImage]) -> str:
    """What every training finds in the same images, beside their ground truth."""
    heading = '<section aria-labelledby="pictures-title"><h2 id="pictures-title">Predictions side by side</h2>'
    if not images:
        return f'{heading}<p class="empty">No run that is done has pictures.</p></section>'
    options = "".join(f"<option>{escaped(image.name)}</option>" for image in images)
    figures = []
    for image in images:
        figures.append(_figure(image.name, image.truth, "<b>ground truth</b>", f"Ground truth of {image.name}"))
        for picture in image.pictures:
            look = picture.training
            caption = f"{swatch(look.colour, look.dash)}{escaped(look.label)} "
            caption += f'<span class="run">{escaped(f"seed {picture.run.seed}")}</span>'
            cells = {"data_cells": " ".join(map(str, look.cells))}
            figures.append(_figure(image.name, picture.source, caption, f"Detections of {look.label}", **cells))
    pictured = {picture.training.cells for image in images for picture in image.pictures}
    without = [training.label for training in groups if training.cells not in pictured]
    hint = f'<p class="hint">Without pictures: {escaped("; ".join(without))}.</p>' if without else ""
    return (
        f'{heading}<div class="controls"><label>image <select id="image">{options}</select></label></div>'
        f'<div class="pictures">{"".join(figures)}</div>{hint}</section>'
    )


def _figure(image: str, source: str, caption: str, alternative: str, **extra: str) -> str:
    picture = f"<img{attributes(src=source, alt=alternative)}>"
    return f"<figure{attributes(data_image=image, **extra)}><figcaption>{caption}</figcaption>{picture}</figure>"
