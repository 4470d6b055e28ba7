"""Small comparisons for tests of charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deta.runs.state import RunState, RunStatus
from deta.studies.report.trainings import Training
from deta.studies.results import Axis, Cell, Comparison, Cost, Run, Summary


def run(
    history: Sequence[Mapping[str, Any]] = (),
    *,
    folder: Path = Path("run"),
    seed: int = 0,
    state: RunState = RunState.DONE,
    hours: float | None = 1.0,
    factors: Mapping[str, str] | None = None,
) -> Run:
    """A run on two devices."""
    cost = None if hours is None else Cost(3600 * hours, 2, "GPU", 100, 4)
    return Run(folder, RunStatus(folder, state), factors or {}, seed, {}, tuple(history), cost)


def training(*runs: Run, cells: tuple[int, ...] = (0,), label: str = "base") -> Training:
    return Training(cells, runs, label, "var(--ink)", "solid")


def cell(score: float | None = None, *runs: Run, postprocess: str = "nms", **factors: str) -> Cell:
    """A cell with one finished run unless runs are given; without a score it has none."""
    state = RunState.MISSING if score is None else RunState.DONE
    own = runs or (run(folder=Path("-".join(factors.values())), state=state, factors=factors),)
    summary = {} if score is None else {"AP": Summary(score, None, 1)}
    return Cell(factors, postprocess, own, summary, None)


def comparison(*cells: Cell, base: Mapping[str, str], axes: Sequence[str] = ()) -> Comparison:
    """A comparison whose axes have the levels of the cells in their order."""
    levels = {name: tuple(dict.fromkeys(each.factors[name] for each in cells)) for name in axes}
    return Comparison("study", "Which?", tuple(Axis(name, (), levels[name]) for name in axes), cells, base, ())
