"""From a folder of runs to a comparison."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deta.studies.bootstrap import ImageBootstrap
from deta.studies.notes import (
    different_data,
    different_settings,
    runs_with_other_data,
    study_notes,
    unmatched_evaluations,
)
from deta.studies.plan import POSTPROCESS, STUDY, Factors, Plan, describe_cell
from deta.studies.records import Record, read_record
from deta.studies.results import PRIMARY, Axis, Cell, Comparison, Difference, Summary
from deta.studies.statistics import compare, summarize
from deta.studies.sweeps import Compose, group_sweep


@dataclass(frozen=True)
class Place:
    """Runs of equal configuration under one selection of detections, not yet judged.

    Attributes:
        factors: Level of every axis, the selection among them where there are several.
        postprocess: The selection.
        records: One for each seed.
    """

    factors: Factors
    postprocess: str
    records: tuple[Record, ...]

    def scored(self) -> dict[int, Record]:
        """Seed to run, for runs that are done and have a defined score under the selection."""
        return {
            record.run.seed: record
            for record in self.records
            if not math.isnan(record.run.scores.get(self.postprocess, {}).get(PRIMARY, math.nan))
        }


def collect(
    folder: Path, *, bootstrap: int | None = 1000, compose: Compose = lambda _: None, base: Factors | None = None
) -> Comparison:
    """Read a study, or a folder of any runs as a sweep.

    In a sweep the settings that differ become axes, the seed apart; every run is scored under the selection of
    detections that it was trained with, and the first cell that has started is the base, or that of ``base``.

    Args:
        folder: Of ``deta study``, of ``deta train -m``, or of runs in general.
        bootstrap: Draws of validation images for intervals over images, at least 100; None leaves them out.
        compose: Tells the settings of cells of a sweep that have not started; those that it does not know are left
            out, with a note.
        base: Levels of the cell of a sweep with which the others are compared; the first cell that has all of them.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no run that has started, those that a search has pruned apart; no cell has the levels of
            ``base``; or it is a study, whose declaration says what its base is.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder of a study or of runs")
    images = None if bootstrap is None else ImageBootstrap(num_samples=bootstrap)
    if not (folder / STUDY).is_file():
        return _sweep(folder, images, compose, base or {})
    if base:
        raise ValueError(f"base={dict(base)} is of a sweep: the base of {folder} is study.base_cell of its study")
    return _study(folder, images)


def _study(folder: Path, images: ImageBootstrap | None) -> Comparison:
    plan = Plan.read(folder)
    study = plan.study
    groups: dict[str, tuple[Factors, list[Record]]] = {}
    for planned in plan.runs:
        record = read_record(folder / planned.folder, factors=planned.factors, seed=planned.seed)
        groups.setdefault(describe_cell(planned.factors), (planned.factors, []))[1].append(record)
    members = [record for _, records in groups.values() for record in records]
    others = runs_with_other_data(members)
    is_varied = len(study.postprocess) > 1
    main = study.base_cell.get(POSTPROCESS, study.postprocess[0])
    places = [
        Place(
            {**factors, POSTPROCESS: name} if is_varied else factors,
            name,
            tuple(_unscored(record) if record.run.folder in others else record for record in records),
        )
        for name in sorted(study.postprocess, key=lambda name: name != main)
        for factors, records in groups.values()
    ]
    own = {POSTPROCESS: main} if POSTPROCESS in study.base_cell and is_varied else {}
    base = {**study.cells()[0], **own}
    axes = [Axis(axis.name, axis.keys, tuple(axis.levels)) for axis in study.axes]
    if is_varied:
        axes.append(Axis(POSTPROCESS, (POSTPROCESS,), study.postprocess))
    return Comparison(
        name=study.name,
        title=study.title,
        axes=tuple(axes),
        cells=_judge(places, base, images),
        base=base,
        notes=(*study_notes(study, list(groups.values())), *_bootstrap_notes(places, images)),
        beyond=(*different_settings(study, list(groups.values())), *different_data(members)),
    )


def _unscored(record: Record) -> Record:
    """The run without what it was judged by."""
    return replace(record, run=replace(record.run, scores={}), evaluations={})


def _sweep(folder: Path, images: ImageBootstrap | None, compose: Compose, wanted: Factors) -> Comparison:
    sweep = group_sweep(folder, compose)
    selections = tuple(dict.fromkeys(name for _, name, _ in sweep.groups))
    is_varied = len(selections) > 1
    places = [
        Place({**factors, POSTPROCESS: name} if is_varied else factors, name, records)
        for factors, name, records in sweep.groups
    ]
    axes = (*sweep.axes, *([Axis(POSTPROCESS, (POSTPROCESS,), selections)] if is_varied else []))
    base = next((place.factors for place in places if wanted.items() <= place.factors.items()), None)
    if base is None:
        known = "; ".join(f"{axis.name}: {', '.join(axis.levels)}" for axis in axes) or "none"
        raise ValueError(f"no cell has base={dict(wanted)}: levels of the axes are {known}")
    return Comparison(
        name=folder.resolve().name,
        title=folder.resolve().name,
        axes=axes,
        cells=_judge(places, base, images),
        base=base,
        notes=(*sweep.beyond, *sweep.notes, *_bootstrap_notes(places, images)),
        beyond=sweep.beyond,
    )


def _bootstrap_notes(places: Sequence[Place], images: ImageBootstrap | None) -> Sequence[str]:
    """Why intervals over images are missing though they are wanted."""
    records = {record.run.folder: record for place in places for record in place.records}
    return () if images is None else tuple(unmatched_evaluations(records.values()))


def _judge(places: Sequence[Place], base: Factors, images: ImageBootstrap | None) -> tuple[Cell, ...]:
    """Cells with their differences to the base: where that leaves the selection open, to the base under their own."""
    bases = [place for place in places if all(place.factors.get(name) == level for name, level in base.items())]
    cells = []
    for place in places:
        reference = next((each for each in bases if each.postprocess == place.postprocess), bases[0])
        cells.append(
            Cell(
                factors=place.factors,
                postprocess=place.postprocess,
                runs=tuple(record.run for record in place.records),
                summary=_summary(place),
                difference=None if place is reference else _difference(place, reference, images),
            )
        )
    return tuple(cells)


def _summary(place: Place) -> Mapping[str, Summary]:
    """Every metric over the runs that define it."""
    scores = [record.run.scores.get(place.postprocess, {}) for record in place.records]
    names = dict.fromkeys(name for metrics in scores for name in metrics)
    defined = {
        name: [metrics[name] for metrics in scores if not math.isnan(metrics.get(name, math.nan))] for name in names
    }
    return {name: summarize(values) for name, values in defined.items() if values}


def _difference(place: Place, reference: Place, images: ImageBootstrap | None) -> Difference | None:
    own, others = place.scored(), reference.scored()
    shared = (seed for seed in own if seed in others and not runs_with_other_data([others[seed], own[seed]]))
    pairs = {seed: (own[seed], others[seed]) for seed in shared}
    if not pairs:
        return None
    differences = {
        seed: first.run.scores[place.postprocess][PRIMARY] - second.run.scores[reference.postprocess][PRIMARY]
        for seed, (first, second) in pairs.items()
    }
    if images is None:
        return compare(differences)
    evaluations = [
        (first.evaluations.get(place.postprocess), second.evaluations.get(reference.postprocess))
        for first, second in pairs.values()
    ]
    known = [
        (first, second)
        for first, second in evaluations
        if first is not None and first.has_matches and second is not None and second.has_matches
    ]
    is_known = len(known) == len(evaluations)  # else a run was not evaluated image by image
    return compare(differences, images.interval(known) if is_known else None)
