"""What a collected study or sweep is: runs, cells of equal configuration, and their differences to the base."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from deta.runs.state import RunState, RunStatus

PRIMARY = "AP"
"""The metric that verdicts are about, in 0..1."""


@dataclass(frozen=True)
class Cost:
    """What a run took, all its parts together.

    Attributes:
        seconds: Wall-clock time in which it trained and validated.
        num_devices: Devices that it held.
        device: Name of one of them.
        num_steps: Optimizer steps.
        num_epochs: Epochs.
        num_parameters: Of the detector.
        images_per_s: In training, of all devices, the median of what was logged.
        val_images_per_s: The same of validations.
        memory_gb: The most that was logged, 1e9 bytes: of a GPU's tensors, or on a CPU of the process.

    What was not on record before some version is None.
    """

    seconds: float
    num_devices: int
    device: str
    num_steps: int
    num_epochs: int
    num_parameters: int | None = None
    images_per_s: float | None = None
    val_images_per_s: float | None = None
    memory_gb: float | None = None


@dataclass(frozen=True)
class Run:
    """One training of a cell.

    Attributes:
        folder: The run directory.
        status: Its state, step and latest AP; a cell that never ran is ``missing``.
        factors: Level of every axis, such as ``{"tau": "0.6"}``.
        seed: Its seed.
        scores: Selection of detections (``nms``, ``topk``) to the metrics of the final weights under it, such as
            ``{"nms": {"AP": 0.31, ...}}``; empty until it is done.
        history: Rows of ``metrics.jsonl`` in their order.
        cost: What it took, None before it started.
    """

    folder: Path
    status: RunStatus
    factors: Mapping[str, str]
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    history: tuple[Mapping[str, Any], ...]
    cost: Cost | None

    @property
    def is_done(self) -> bool:
        """Whether it has its final scores."""
        return self.status.state == RunState.DONE


@dataclass(frozen=True)
class Interval:
    """A two-sided interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


class Verdict(StrEnum):
    """What a difference says."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "within noise"
    SAME = "identical"
    UNKNOWN = "too few seeds"


@dataclass(frozen=True)
class Difference:
    """A cell less the base in the primary metric, paired by seed.

    Attributes:
        mean: Mean over the seeds that both have.
        pairs: The difference of every such seed.
        over_seeds: 95 % t-interval of the mean; None below two pairs.
        over_images: 95 % interval of the bootstrap over validation images; None where it was not made.
        verdict: Within noise where ``over_seeds`` holds zero.
    """

    mean: float
    pairs: Mapping[int, float]
    over_seeds: Interval | None
    over_images: Interval | None
    verdict: Verdict


@dataclass(frozen=True)
class Summary:
    """A metric over the seeds of a cell.

    Attributes:
        mean: Mean.
        std: Standard deviation with ``n - 1``; None below two values.
        num_seeds: Values behind it.
    """

    mean: float
    std: float | None
    num_seeds: int


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but the seed, under one selection of detections.

    Attributes:
        factors: Level of every axis; ``postprocess`` is one of them where several selections are reported.
        postprocess: Selection of detections whose scores these are.
        runs: One for each seed, in the order of the seeds.
        summary: Metric name to its summary over the runs that are done.
        difference: To the base; None for the base itself, or where either has no run that is done.
    """

    factors: Mapping[str, str]
    postprocess: str
    runs: tuple[Run, ...]
    summary: Mapping[str, Summary]
    difference: Difference | None

    @property
    def is_complete(self) -> bool:
        """Whether every seed is done."""
        return all(run.is_done for run in self.runs)


@dataclass(frozen=True)
class Axis:
    """What is varied.

    Attributes:
        name: Short name, such as ``tau``.
        keys: Configuration keys that may differ along it.
        levels: Names of its levels in the order of declaration.
    """

    name: str
    keys: tuple[str, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A study or a sweep, collected.

    Attributes:
        name: Name of the study or folder.
        title: What it asks, in a sentence; the name for a sweep.
        axes: What is varied.
        cells: In the order of declaration, first the base.
        base: Factors of the base.
        notes: What a reader must know: missing runs, other machines, settings that differ beside the axes.
        beyond: Those of the notes that tell what differs beside the axes, so that no difference is owed to them alone.
    """

    name: str
    title: str
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    base: Mapping[str, str]
    notes: tuple[str, ...]
    beyond: tuple[str, ...] = ()
