"""What a reader of a comparison must know beside its numbers."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deta.runs.state import RunState
from deta.studies.lint import undeclared_differences
from deta.studies.plan import Factors, Study, describe_cell
from deta.studies.records import Record
from deta.studies.settings import differences, told
from deta.utils.wording import counted

SEEDS = ("seed", "data.seed")
"""Keys in which the runs of a cell differ."""


def study_notes(study: Study, groups: Sequence[tuple[Factors, Sequence[Record]]]) -> Iterator[str]:
    """Runs that are missing, scores that are, settings that differ beside the axes, and different machines.

    Args:
        study: The study.
        groups: Its cells with their runs, first the base.
    """
    records = [record for _, members in groups for record in members]
    yield from missing_runs(records)
    yield from damaged_files(records)
    for name in study.postprocess:
        unscored = sum(record.run.is_done and name not in record.run.scores for record in records)
        if unscored:
            yield f"{counted(unscored, 'run is', 'runs are')} not evaluated under {name}; deta study evaluates them"
    yield from different_settings(study, groups)
    yield from different_data(records)
    yield from different_machines(records)
    if len(study.seeds) < 3:
        few = counted(len(study.seeds), "seed says", "seeds say")
        yield f"{few} little: an interval over two is wide, and over one there is none"


def missing_runs(records: Sequence[Record]) -> Iterator[str]:
    """A note on every run that is not done; runs of one state and message share one."""
    groups: dict[str, list[str]] = {}
    for record in records:
        status = record.run.status
        if status.state != RunState.DONE:
            told = f"{status.state} ({status.message})" if status.message else str(status.state)
            groups.setdefault(told, []).append(f"{describe_cell(record.run.factors)} seed={record.run.seed}".strip())
    for told, names in groups.items():
        yield f"{names[0]} is {told}" if len(names) == 1 else f"{len(names)} runs are {told}: {', '.join(names)}"


def unevaluated_runs(records: Iterable[Record]) -> Iterator[str]:
    """A note if runs are done that no validation has scored."""
    runs = [record.run for record in records if record.run.is_done and not any(record.run.scores.values())]
    if runs:
        names = ", ".join(f"{describe_cell(run.factors)} seed={run.seed}".strip() for run in runs)
        yield (
            f"{counted(len(runs), 'run was', 'runs were')} never evaluated: {names}; a validation comes every "
            "trainer.check_val_every_n_epoch epochs, unless trainer.limit_val_batches=0"
        )


def damaged_files(records: Iterable[Record]) -> Iterator[str]:
    """A note on every file that could not be read."""
    for record in records:
        for damage in record.damage:
            yield f"left out: {damage}"


def unmatched_evaluations(records: Iterable[Record]) -> Iterator[str]:
    """A note if runs were evaluated by rules that know no matches by image, as those of LVIS."""
    unmatched = sum(any(not each.has_matches for each in record.evaluations.values()) for record in records)
    if unmatched:
        yield f"{counted(unmatched, 'run is', 'runs are')} not evaluated by COCO's rules: no interval over images"


def runs_with_other_data(records: Sequence[Record]) -> set[Path]:
    """Directories of the runs that were trained with other data than the first of which that is known."""
    known = {record.run.folder: record.data.digest for record in records if record.data is not None}
    return {folder for folder, digest in known.items() if digest != next(iter(known.values()))}


def different_data(records: Iterable[Record]) -> Iterator[str]:
    """A note if not all runs were trained with the same data; it names every data set."""
    found = [record.data for record in records if record.configs and record.run.history]
    known = {data.digest: data for data in found if data is not None}
    if len(known) > 1:
        named = " | ".join(map(str, known.values()))
        yield f"the runs were trained with {len(known)} different data sets, which are not compared: {named}"
    if known and None in found:
        runs = counted(found.count(None), "run has", "runs have")
        yield f"{runs} no record of the data, which may be others than those of the rest"


def different_machines(records: Iterable[Record]) -> Iterator[str]:
    """A note if not all runs were made on one kind of device, by one revision, with one set of packages."""
    environments = [environment for record in records for environment in record.environments]
    for what, values in {
        "devices": [_text(each.get("devices")) for each in environments],
        "numbers of threads": [str(each.get("num_threads")) for each in environments],
        "source revisions": [_revision(each.get("git")) for each in environments],
        "versions of packages": [_text(each.get("versions")) for each in environments],
    }.items():
        different = sorted(set(values))
        if len(different) > 1:
            named = "" if what == "versions of packages" else f": {'; '.join(different)}"
            yield f"the runs were made with {len(different)} different {what}{named}"


def different_settings(study: Study, groups: Sequence[tuple[Factors, Sequence[Record]]]) -> Iterator[str]:
    """Differences that the settings on disk have and the study does not declare."""
    base, members = groups[0]
    plain = next((record.configs[0] for record in members if record.configs), None)
    if plain is None:
        return
    faults: dict[str, None] = {}
    for factors, records in groups:
        for config in (config for record in records for config in record.configs):
            if factors == base:
                changed = differences(_unseeded(plain), _unseeded(config))
                found = [f"{key} differs between runs of the base: {pair}" for key, pair in changed.items()]
            else:
                found = undeclared_differences(study.axes, base, _unseeded(plain), factors, _unseeded(config))
            faults |= dict.fromkeys(found)
    yield from faults


def different_starts(records: Iterable[Record]) -> Iterator[str]:
    """A note if not all runs started alike: afresh, or from one other run."""
    starts = {record.start for record in records if record.run.history}
    if len(starts) > 1:
        told = ", ".join(sorted("afresh" if start is None else f"from {start}" for start in starts))
        yield f"the runs started differently: {told}"


def later_settings(records: Iterable[Record]) -> Iterator[str]:
    """A note on every run that went on with other settings than it began with."""
    for record in records:
        changed: dict[str, tuple[Any, Any]] = {}
        for config in record.configs[1:]:
            changed |= differences(record.configs[0], config)
        if changed:
            yield f"{record.run.folder.name} went on with other settings: {told(changed)}"


def _unseeded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without seeds, in which runs of one cell must agree."""
    data = {name: value for name, value in config.get("data", {}).items() if f"data.{name}" not in SEEDS}
    return {**{name: value for name, value in config.items() if name not in SEEDS}, "data": data}


def _revision(git: Mapping[str, Any] | None) -> str:
    if git is None:
        return "unknown"
    return f"{str(git['commit'])[:10]}{' with changes' if git['is_modified'] else ''}"


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value, sort_keys=True)
