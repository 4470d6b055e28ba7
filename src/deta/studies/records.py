"""What the directory of a run tells: its state, settings, scores, history and cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from deta.evaluation import EVALUATIONS, StoredEvaluation, read_evaluation
from deta.runs.config import part_files, read_config, started_from
from deta.runs.data_record import DataRecord, read_data
from deta.runs.state import DONE, read_status
from deta.studies.costs import read_cost, read_environments
from deta.studies.results import Run
from deta.studies.settings import effective
from deta.tracking.metrics import read_metrics
from deta.utils.files import read_json
from deta.utils.names import shown

Content = TypeVar("Content")

_VALIDATION = "val/"
_NO_METRICS = ("step", "epoch", "scores_epoch", "data", "is_pruned")
"""Keys of ``done.json`` that are no score."""
_LARGEST_EXACT = 2**53
"""Whole numbers beyond it are no counts, and may be too large for a float."""


@dataclass(frozen=True)
class Record:
    """A run directory, read.

    Attributes:
        run: The run.
        configs: The part of its configuration that decides the result, for each part of the run; before it started
            what it is to have, or none.
        postprocess: Selection of detections that its validations use, such as ``nms``; None without a configuration.
        evaluations: Those of its final weights by selection.
        data: The data set that it was trained with; None if it has no record of it.
        environments: What every part of it was made with.
        damage: What could not be read, each with its file; it is missing from the rest.
        start: The run or checkpoint of another folder from which it started; None if it started afresh.
    """

    run: Run
    configs: tuple[Mapping[str, Any], ...]
    postprocess: str | None
    evaluations: Mapping[str, StoredEvaluation]
    data: DataRecord | None = None
    environments: tuple[Mapping[str, Any], ...] = ()
    damage: tuple[str, ...] = ()
    start: str | None = None


def read_record(folder: Path, *, factors: Mapping[str, str], seed: int | None = None) -> Record:
    """Read a run directory, which need not exist.

    Args:
        folder: The directory.
        factors: Its cell.
        seed: Its seed; None takes that of its configuration.
    """
    damage: list[str] = []
    configs = _read(lambda: [read_config(path) for path in part_files(folder, "config.yaml")], damage) or []
    metrics = folder / "metrics.jsonl"
    history = (_read(lambda: read_metrics(metrics), damage) if metrics.is_file() else None) or []
    environments = _read(lambda: read_environments(folder), damage)
    evaluations = {}
    for place in sorted((folder / EVALUATIONS).glob("*")):
        evaluation = _read(partial(read_evaluation, place), damage)
        if evaluation is not None:
            evaluations[place.name] = evaluation
    if seed is None:
        seed = int(configs[0]["seed"]) if configs else 0
    run = Run(
        folder=folder,
        status=read_status(folder),
        factors=factors,
        seed=seed,
        scores={},
        history=tuple(history),
        cost=_read(lambda: read_cost(folder, configs[0], history), damage) if configs and environments else None,
    )
    if run.is_done:
        run = replace(run, scores={name: evaluation.metrics for name, evaluation in evaluations.items()})
    own = _selection(configs[-1]) if configs else None
    parts, data = tuple(effective(config) for config in configs), _read(lambda: read_data(folder), damage)
    start = started_from(configs[0].get("ckpt"), folder) if configs else None
    return Record(run, parts, own, evaluations, data, tuple(environments or ()), tuple(damage), start)


def with_planned(record: Record, config: Mapping[str, Any]) -> Record:
    """Give a run that has not started the resolved configuration that it is to have."""
    run = replace(record.run, seed=int(config["seed"]))
    return replace(record, run=run, configs=(effective(config),), postprocess=_selection(config))


def with_own_scores(record: Record) -> Record:
    """Add the last validation's numbers as those of the final weights under the run's own selection.

    An evaluation of the final weights under this selection is left as it is.
    """
    own, run = record.postprocess, record.run
    if own is None or own in run.scores or not run.is_done:
        return record
    done = read_json(run.folder / DONE, dict[str, Any])
    metrics = {name: value for name, value in done.items() if name not in _NO_METRICS}
    if not metrics:  # a run continued at its very end did not validate again
        last: Mapping[str, Any] = next((row for row in reversed(run.history) if f"{_VALIDATION}AP" in row), {})
        metrics = {name.removeprefix(_VALIDATION): value for name, value in last.items() if name.startswith("val/A")}
    wrong = [name for name, value in metrics.items() if not _is_score(value)]
    kept = {name: value for name, value in metrics.items() if name not in wrong}
    scores = {name: float("nan") if value is None else float(value) for name, value in kept.items()}
    notes = [f"{run.folder / DONE}: {name} is no number but {shown(metrics[name])!r:.80}, left out" for name in wrong]
    scored = replace(run, scores={**run.scores, own: scores})
    return replace(record, run=scored, damage=(*record.damage, *notes))


def _is_score(value: object) -> bool:
    """Whether a value is a number or, for one that is not defined, null."""
    return value is None or type(value) is float or (type(value) is int and abs(value) <= _LARGEST_EXACT)


def _selection(config: Mapping[str, Any]) -> str:
    return str(config["postprocess"].get("_target_")).rpartition(".")[2].lower()


def _read(read: Callable[[], Content], damage: list[str]) -> Content | None:
    """What ``read`` gives; None for a damaged file, with the complaint added to ``damage``."""
    try:
        return read()
    except (OSError, ValueError) as error:
        damage.append(str(error))
        return None
