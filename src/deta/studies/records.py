"""What the directory of a run tells: its state, settings, scores, history and cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from deta.engine.data_record import DataRecord, read_data
from deta.engine.evaluation import EVALUATIONS, StoredEvaluation, read_evaluation
from deta.engine.runs import DONE, read_status
from deta.engine.tracking import read_metrics
from deta.studies.costs import read_cost
from deta.studies.results import Run
from deta.studies.settings import effective

_VALIDATION = "val/"
_NO_METRICS = ("step", "epoch", "data")
"""Keys of ``done.json`` that are no score."""


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
    """

    run: Run
    configs: tuple[Mapping[str, Any], ...]
    postprocess: str | None
    evaluations: Mapping[str, StoredEvaluation]
    data: DataRecord | None = None


def read_record(folder: Path, *, factors: Mapping[str, str], seed: int | None = None) -> Record:
    """Read a run directory, which need not exist.

    Args:
        folder: The directory.
        factors: Its cell.
        seed: Its seed; None takes that of its configuration.
    """
    configs = [_load_yaml(path) for path in sorted(folder.glob("config*.yaml"))]
    history = tuple(read_metrics(folder / "metrics.jsonl")) if (folder / "metrics.jsonl").is_file() else ()
    places = sorted((folder / EVALUATIONS).glob("*"))
    found = {place.name: read_evaluation(place) for place in places}
    evaluations = {name: evaluation for name, evaluation in found.items() if evaluation is not None}
    if seed is None:
        seed = int(configs[0]["seed"]) if configs else 0
    run = Run(
        folder=folder,
        status=read_status(folder),
        factors=factors,
        seed=seed,
        scores={},
        history=history,
        cost=read_cost(folder, configs[0], history) if configs else None,
    )
    if run.is_done:
        run = replace(run, scores={name: evaluation.metrics for name, evaluation in evaluations.items()})
    own = _selection(configs[-1]) if configs else None
    return Record(run, tuple(effective(config) for config in configs), own, evaluations, read_data(folder))


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
    done = json.loads((run.folder / DONE).read_text())
    metrics = {name: value for name, value in done.items() if name not in _NO_METRICS}
    if not metrics:  # a run continued at its very end did not validate again
        last: Mapping[str, Any] = next((row for row in reversed(run.history) if f"{_VALIDATION}AP" in row), {})
        metrics = {name.removeprefix(_VALIDATION): value for name, value in last.items() if name.startswith("val/A")}
    scores = {name: float("nan") if value is None else float(value) for name, value in metrics.items()}
    return replace(record, run=replace(run, scores={**run.scores, own: scores}))


def _selection(config: Mapping[str, Any]) -> str:
    return str(config["postprocess"]["_target_"]).rpartition(".")[2].lower()


def _load_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content
