"""Learning rates that change with every optimizer step along a course in epochs, or in shares of the training."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deta.utils.checks import require_choice, require_int, require_list, require_number


class CourseLR(LRScheduler):
    """Base class of schedules of interval ``step`` whose course is told in epochs.

    The rate is a function of the number of steps alone: a run that goes on from a checkpoint has the rates of one that
    was never stopped, to the last bit. How many steps an epoch and the training have is known once it begins; before,
    the course stands at its start.

    Args:
        optimizer: Whose rates change.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.steps_per_epoch: int | None = None
        self.num_steps: float = math.inf
        super().__init__(optimizer)

    def begin(self, steps_per_epoch: int, num_steps: float = math.inf) -> None:
        """Take up the course, at the step that the schedule has reached.

        Args:
            steps_per_epoch: Optimizer steps of an epoch, from 1.
            num_steps: Of the training; infinite where it has no end of its own.
        """
        self.steps_per_epoch = require_int("steps_per_epoch", steps_per_epoch, low=1)
        self.num_steps = num_steps
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def get_lr(self) -> list[float | Tensor]:
        """The rate of every group after ``last_epoch`` steps, as its base class calls them."""
        epochs = 0.0 if self.steps_per_epoch is None else self.last_epoch / self.steps_per_epoch
        factor = self.factor(self.last_epoch, epochs)
        return [rate * factor for rate in self.base_lrs]

    def factor(self, steps: int, epochs: float) -> float:
        """Factor on all rates.

        Args:
            steps: Optimizer steps so far.
            epochs: The same in epochs.
        """
        raise NotImplementedError


class WarmUpMultiStepLR(CourseLR):
    """A linear rise over the first steps, and a fall at milestones.

    Source: the recipes of torchvision's and mmdetection's dense detectors; arXiv:1706.02677, sec. 2.2.

    Args:
        optimizer: Whose rates change.
        steps: Optimizer steps after which the whole rate is reached; 0 starts with it.
        start: Share of the rate in the first step, 0..1.
        milestones: Epochs after which the rate falls, or steps.
        gamma: Factor at each milestone, at least 0.
        unit: Of the milestones: ``epoch`` or ``step``.

    Raises:
        ValueError: A value lies outside its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        steps: int = 500,
        start: float = 0.001,
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
        unit: str = "epoch",
    ) -> None:
        self.steps = require_int("schedule.make.steps", steps, low=0)
        self.start = require_number("schedule.make.start", start, low=0, high=1)
        self.milestones = _milestones(milestones)
        self.gamma = require_number("schedule.make.gamma", gamma, low=0)
        self.unit = require_choice("schedule.make.unit", unit, ("epoch", "step"))
        super().__init__(optimizer)

    def factor(self, steps: int, epochs: float) -> float:
        """Rise times decay."""
        rise = 1.0 if steps >= self.steps else self.start + (1 - self.start) * steps / self.steps
        return rise * self.gamma ** bisect_right(self.milestones, epochs if self.unit == "epoch" else steps)


class WarmUpCosineLR(CourseLR):
    """A quadratic rise from 0, half a cosine down to a lowest rate, and that until the end.

    Source: arXiv:2107.08430 (YOLOX), sec. 2.1, and its code, where both parts are taken step by step.

    Args:
        optimizer: Whose rates change.
        epochs: Of the rise, at least 0.
        lowest: Share of the rate that stays in the end, 0..1.
        milestones: Epochs of which the last one ends the fall; without any the whole rate stays.

    Raises:
        ValueError: A value lies outside its range.
    """

    def __init__(
        self, optimizer: Optimizer, *, epochs: float = 5.0, lowest: float = 0.05, milestones: Sequence[int] = ()
    ) -> None:
        self.epochs = require_number("schedule.make.epochs", epochs, low=0)
        self.lowest = require_number("schedule.make.lowest", lowest, low=0, high=1)
        self.milestones = _milestones(milestones)
        super().__init__(optimizer)

    def factor(self, steps: int, epochs: float) -> float:
        """Quadratic rise, then half a cosine."""
        if epochs < self.epochs:
            return (epochs / self.epochs) ** 2
        if not self.milestones:
            return 1.0
        end = self.milestones[-1]
        if epochs >= end:
            return self.lowest
        passed = (epochs - self.epochs) / (end - self.epochs)
        return self.lowest + (1 - self.lowest) * (1 + math.cos(math.pi * passed)) / 2


class WarmUpToEndLR(CourseLR):
    """A linear rise over the first share of the training, and half a cosine down to its last step.

    So it is as long as the training, however many images there are. A training without an end keeps the whole rate.

    Source: arXiv:1608.03983, eq. 5, without restarts; arXiv:1706.02677, sec. 2.2.

    Args:
        optimizer: Whose rates change.
        rise: Share of the training until the whole rate is reached, 0..1.
        lowest: Share of the rate in the last step, 0..1.
        milestones: What a size or an experiment says for other schedules; this one has none.

    Raises:
        ValueError: A value lies outside its range.
    """

    def __init__(
        self, optimizer: Optimizer, *, rise: float = 0.05, lowest: float = 0.01, milestones: Sequence[int] = ()
    ) -> None:
        self.rise = require_number("schedule.make.rise", rise, low=0, high=1)
        self.lowest = require_number("schedule.make.lowest", lowest, low=0, high=1)
        _milestones(milestones)
        super().__init__(optimizer)

    def factor(self, steps: int, epochs: float) -> float:
        """Linear rise, then half a cosine down to the last step."""
        if math.isinf(self.num_steps):
            return 1.0
        top = self.rise * self.num_steps
        if steps < top:
            return (steps + 1) / (top + 1)
        passed = min(1.0, (steps - top) / max(1.0, self.num_steps - 1 - top))
        return self.lowest + (1 - self.lowest) * (1 + math.cos(math.pi * passed)) / 2


def _milestones(values: Sequence[int]) -> list[int]:
    """Epochs or steps in their order, each from 0."""
    listed = require_list("schedule.make.milestones", values)
    return sorted(require_int("schedule.make.milestones: each", value, low=0) for value in listed)
