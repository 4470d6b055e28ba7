"""The tables of a comparison: one row for each cell, and one for each run."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from deta.runs.state import RunState
from deta.studies.labels import is_base, level_of, shown_axes
from deta.studies.results import PRIMARY, Axis, Cell, Comparison, Cost, Interval, Run
from deta.studies.tables import ABSENT, MINUS, Column, Entry, Table
from deta.utils.wording import POINTS

METRICS = (PRIMARY, "AP50", "AP75", "APs", "APm", "APl")
DIFFERENCE_TITLE = f"Δ{PRIMARY} to base"
SEEDS_TITLE = "95 % over seeds"
IMAGES_TITLE = "95 % over images"
_SECONDS_OF_HOUR = 3600
_FEWEST_DECIMALS, _MOST_DECIMALS = 1, 3


def ablation_table(comparison: Comparison) -> Table:
    """Scores of every cell in points, its difference to the base with intervals, and what it cost.

    Without a difference there are no columns for it, and without an interval over images none for that. Where cells are
    of detectors of different size, there are columns of speed, parameters and memory, too.
    """
    decimals = num_decimals(comparison)
    axes = shown_axes(comparison)
    parts: list[tuple[Column, Callable[[Cell], Entry]]] = [_factor(axis) for axis in axes]
    metrics = [name for name in METRICS if any(name in cell.summary for cell in comparison.cells)]
    parts += [_metric(PRIMARY, decimals)]
    if any(cell.difference is not None for cell in comparison.cells):
        parts += [_difference(comparison, decimals), _over_seeds(decimals)]
        parts += [_over_images(decimals)] if _has_intervals_over_images(comparison) else []
        parts += [_VERDICT]
    parts += [_metric(name, decimals) for name in metrics if name != PRIMARY]
    parts += [_SEEDS, _HOURS, *_costs(comparison)]
    return Table(
        caption=comparison.title,
        columns=tuple(column for column, _ in parts),
        rows=tuple(tuple(make(cell) for _, make in parts) for cell in comparison.cells),
        notes=(*_reading(comparison), *comparison.notes),
    )


def runs_table(comparison: Comparison) -> Table:
    """State, latest score and cost of every run; a run that several cells share stands once."""
    axes = [axis for axis in shown_axes(comparison) if any(axis.name in run.factors for run in all_runs(comparison))]
    decimals = num_decimals(comparison)
    columns = [Column(axis.name, (axis.name,), is_number=False) for axis in axes]
    columns += [
        Column("seed", ("seed",)),
        Column("state", ("state",), is_number=False),
        Column("steps", ("steps",)),
        Column(f"latest {PRIMARY}", (f"latest_{PRIMARY}",)),
        Column("device hours", ("device_hours",)),
        Column("device", ("device",), is_number=False),
        Column("run", ("run",), is_number=False),
        Column("message", ("message",), is_number=False),
    ]
    rows = []
    for run in all_runs(comparison):
        status, cost = run.status, run.cost
        latest = None if status.metric is None else POINTS * status.metric
        entries = [_text(run.factors.get(axis.name)) for axis in axes]
        entries += [
            Entry(str(run.seed), (run.seed,)),
            _text(str(status.state)),
            Entry(ABSENT if status.step is None else str(status.step), (status.step,)),
            Entry(number(latest, decimals), (latest,)),
            _hours(None if cost is None else device_hours(run)),
            _text(None if cost is None else f"{cost.num_devices} x {cost.device}"),
            _text(run.folder.name),
            _text(status.message or None),
        ]
        rows.append(tuple(entries))
    return Table(f"Runs of {comparison.name}", tuple(columns), tuple(rows))


def all_runs(comparison: Comparison) -> tuple[Run, ...]:
    """Every run once, though several selections of its detections make several cells."""
    return tuple({run.folder: run for cell in comparison.cells for run in cell.runs}.values())


def device_hours(run: Run) -> float:
    """Hours of one device that a run took; 0 before it started."""
    return 0.0 if run.cost is None else run.cost.seconds * run.cost.num_devices / _SECONDS_OF_HOUR


def num_decimals(comparison: Comparison) -> int:
    """Decimals of scores in points: one more than the noise over seeds deserves.

    The noise is the root mean square of the cells' standard deviations: 0.3 points deserve one decimal, so two are
    shown. Without repeated seeds there is one, as in COCO's tables.
    """
    stds = [cell.summary[PRIMARY].std for cell in comparison.cells if PRIMARY in cell.summary]
    squares = [(POINTS * std) ** 2 for std in stds if std is not None]
    if not squares or not any(squares):
        return _FEWEST_DECIMALS
    noise = math.sqrt(math.fsum(squares) / len(squares))
    return min(max(1 - math.floor(math.log10(noise)), _FEWEST_DECIMALS), _MOST_DECIMALS)


def number(value: float | None, decimals: int, *, has_sign: bool = False) -> str:
    """A number with a true minus sign, none where it is rounded to zero; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{value:{'+' if has_sign else ''}.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def state_in_words(cell: Cell) -> str:
    """Why a cell has no scores: the states of its runs, the most frequent first, such as ``failed, missing``."""
    states = Counter(str(run.status.state) for run in cell.runs if not run.is_done)
    return ", ".join(state for state, _ in states.most_common()) or str(RunState.MISSING)


def _factor(axis: Axis) -> tuple[Column, Callable[[Cell], Entry]]:
    return Column(axis.name, (axis.name,), is_number=False), lambda cell: _text(level_of(cell, axis.name))


def _metric(name: str, decimals: int) -> tuple[Column, Callable[[Cell], Entry]]:
    """Mean over seeds; with the standard deviation where verdicts are about it."""

    def entry(cell: Cell) -> Entry:
        summary = cell.summary.get(name)
        if summary is None:
            return Entry(state_in_words(cell) if name == PRIMARY else ABSENT, (None, None))
        mean, std = POINTS * summary.mean, None if summary.std is None else POINTS * summary.std
        text = number(mean, decimals)
        if name == PRIMARY and std is not None:
            text += f" ± {number(std, decimals)}"
        return Entry(text, (_finite(mean), std))

    return Column(name, (f"{name}_mean", f"{name}_std")), entry


def _difference(comparison: Comparison, decimals: int) -> tuple[Column, Callable[[Cell], Entry]]:
    def entry(cell: Cell) -> Entry:
        base = is_base(comparison, cell)
        mean = None if cell.difference is None else POINTS * cell.difference.mean
        text = "base" if base and mean is None else number(mean, decimals, has_sign=True)
        return Entry(text, (mean, int(base)))

    return Column(DIFFERENCE_TITLE, (f"{PRIMARY}_difference", "is_base")), entry


def _over_seeds(decimals: int) -> tuple[Column, Callable[[Cell], Entry]]:
    column = Column(SEEDS_TITLE, ("seeds_low", "seeds_high"))
    return column, lambda cell: _interval(cell.difference and cell.difference.over_seeds, decimals)


def _over_images(decimals: int) -> tuple[Column, Callable[[Cell], Entry]]:
    column = Column(IMAGES_TITLE, ("images_low", "images_high"))
    return column, lambda cell: _interval(cell.difference and cell.difference.over_images, decimals)


def _has_intervals_over_images(comparison: Comparison) -> bool:
    return any(cell.difference is not None and cell.difference.over_images for cell in comparison.cells)


def _interval(interval: Interval | None, decimals: int) -> Entry:
    if interval is None:
        return Entry(ABSENT, (None, None))
    low, high = POINTS * interval.low, POINTS * interval.high
    text = f"[{number(low, decimals, has_sign=True)}, {number(high, decimals, has_sign=True)}]"
    return Entry(text, (low, high))


def _verdict(cell: Cell) -> Entry:
    return _text(None if cell.difference is None else str(cell.difference.verdict))


def _seeds(cell: Cell) -> Entry:
    """Done and planned, then what became of the others."""
    done = sum(run.is_done for run in cell.runs)
    others = Counter(str(run.status.state) for run in cell.runs if not run.is_done)
    words = [f"{done}/{len(cell.runs)}", *(f"{count} {state}" for state, count in others.items())]
    return Entry(", ".join(words), (done, len(cell.runs)))


def _cell_hours(cell: Cell) -> Entry:
    hours = [device_hours(run) for run in cell.runs if run.cost is not None]
    return _hours(math.fsum(hours) if hours else None)


def _costs(comparison: Comparison) -> list[tuple[Column, Callable[[Cell], Entry]]]:
    """What different detectors cost, as far as it is on record."""
    sizes = {run.cost.num_parameters for run in all_runs(comparison) if run.cost is not None}
    return [_cost(*each) for each in _COSTS] if len(sizes - {None}) > 1 else []


def _cost(
    title: str, key: str, of_cost: Callable[[Cost], float | None], text: Callable[[float], str]
) -> tuple[Column, Callable[[Cell], Entry]]:
    """The mean over the runs of a cell."""

    def entry(cell: Cell) -> Entry:
        values = [value for run in cell.runs if run.cost is not None and (value := of_cost(run.cost)) is not None]
        mean = math.fsum(values) / len(values) if values else None
        return Entry(ABSENT if mean is None else text(mean), (mean,))

    return Column(title, (key,)), entry


_COSTS: Sequence[tuple[str, str, Callable[[Cost], float | None], Callable[[float], str]]] = (
    ("images/s in training", "images_per_s", lambda cost: cost.images_per_s, "{:.1f}".format),
    ("images/s in detection", "val_images_per_s", lambda cost: cost.val_images_per_s, "{:.1f}".format),
    ("parameters", "parameters", lambda cost: cost.num_parameters, "{:,.0f}".format),
    ("most memory in GB", "memory_gb", lambda cost: cost.memory_gb, "{:.2f}".format),
)
_VERDICT = (Column("verdict", ("verdict",), is_number=False), _verdict)
_SEEDS = (Column("seeds", ("seeds_done", "seeds_planned")), _seeds)
_HOURS = (Column("device hours", ("device_hours",)), _cell_hours)


def _hours(hours: float | None) -> Entry:
    return Entry(ABSENT if hours is None else hours_text(hours), (hours,))


def hours_text(hours: float) -> str:
    """Hours with three digits, at most three decimals."""
    decimals = 3 if hours <= 0 else min(max(2 - math.floor(math.log10(hours)), 0), 3)
    return f"{hours:.{decimals}f}"


def _text(text: str | None) -> Entry:
    return Entry(ABSENT if text is None else text, (text,))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_COSTS_NOTE = (
    "Images per second are medians of what was logged; memory is that of a GPU's tensors, or on a CPU of the process, "
    "which the first run of a sweep alone can tell"
)


def _reading(comparison: Comparison) -> Sequence[str]:
    """How to read what the table holds."""
    done = [cell for cell in comparison.cells if PRIMARY in cell.summary]
    sentences = [f"{PRIMARY} in points"]
    if any(cell.summary[PRIMARY].std is not None for cell in done):
        sentences[0] += ", mean ± standard deviation over seeds"
    if any(cell.difference is not None for cell in comparison.cells):
        sentences.append(
            "The difference to the base is paired by seed. Its interval over seeds is Student's t over those pairs and "
            "makes the verdict"
        )
        if _has_intervals_over_images(comparison):
            sentences[-1] += "; that over images is the bootstrap over validation images"
    if _costs(comparison):
        sentences.append(_COSTS_NOTE)
    return [f"{sentence}." for sentence in sentences]
