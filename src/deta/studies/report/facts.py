"""What a comparison is in a few numbers: what was planned, what is done, what it says and what it took."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from deta.studies.ablation import all_runs, device_hours, hours_text
from deta.studies.results import Comparison, Cost, Run


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Names and values."""
    runs = all_runs(comparison)
    started = [run for run in runs if run.cost is not None]
    done = sum(run.is_done for run in runs)
    complete = sum(cell.is_complete for cell in comparison.cells)
    verdicts = Counter(str(cell.difference.verdict) for cell in comparison.cells if cell.difference is not None)
    found = [
        ("runs done", f"{done} of {len(runs)}"),
        ("cells complete", f"{complete} of {len(comparison.cells)}"),
        ("seeds of a cell", _span_of([len(cell.runs) for cell in comparison.cells])),
    ]
    if verdicts:
        found.append(("cells against the base", ", ".join(f"{number} {name}" for name, number in verdicts.items())))
    if started:
        found += [
            ("epochs of a run", _span(runs, lambda cost: cost.num_epochs)),
            ("steps of a run", _span(runs, lambda cost: cost.num_steps)),
            ("device hours, all runs", hours_text(math.fsum(device_hours(run) for run in started))),
            ("devices", ", ".join(sorted({run.cost.device for run in started if run.cost}))),
        ]
    return found


def _span(runs: Sequence[Run], value: Callable[[Cost], int]) -> str:
    """The value of the runs that are done, of all runs while none is."""
    done = [run for run in runs if run.is_done] or list(runs)
    return _span_of([value(run.cost) for run in done if run.cost is not None])


def _span_of(values: Sequence[int]) -> str:
    ends = sorted(set(values))
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}" if ends else ""
