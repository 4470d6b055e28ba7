"""What every tracker beside the run's own record keeps to: nothing that it raises reaches the training."""

import logging
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from deta.runs.preemption import StoppedRun

_log = logging.getLogger(__name__)

_Method = TypeVar("_Method", bound=Callable[..., None])


class Mirror(Logger):
    """A logger whose first failure is a warning and the last call: a training is worth more than its mirror.

    Args:
        folder: The run directory.

    Attributes:
        title: What the tracker is called.
        is_broken: Whether it has failed.
    """

    title: ClassVar[str]

    def __init__(self, *, folder: str | Path) -> None:
        super().__init__()
        self._folder = Path(folder).resolve()
        self.is_broken = False

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self._folder.name

    @property
    def version(self) -> str:
        """A run directory holds one run."""
        return ""

    def within_time(self, method: str) -> AbstractContextManager[None]:
        """Around every call that is ``harmless``; ends one that gets no answer, if the tracker can tell."""
        return nullcontext()

    def log_pictures(self, name: str, pictures: Sequence[Image.Image], *, step: int) -> None:
        """Keep pictures, where the tracker shows any."""

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int) -> None:
        """Keep a table, where the tracker shows any."""

    def continue_at(self, step: int) -> None:
        """Forget what an earlier part of the run has logged from this step on, where the tracker can."""

    def finish(self, *, exit_code: int = 0, is_preempted: bool = False) -> None:
        """End this part of the run.

        Args:
            exit_code: Other than 0 is a failure.
            is_preempted: The run comes back.
        """


def harmless(method: _Method) -> _Method:
    """Let nothing that a method of a ``Mirror`` raises reach the training; it runs on the first rank alone."""

    @wraps(method)
    @rank_zero_only
    def guarded(self: Mirror, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of any method
        if self.is_broken:
            return
        try:
            with self.within_time(method.__name__):
                method(self, *args, **kwargs)
        except Exception as error:  # of any kind: a training is worth more than its mirror
            self.is_broken = True
            _log.warning(
                "%s failed (%s: %s): the training goes on without it, metrics.jsonl and metrics.csv stay complete",
                self.title,
                type(error).__name__,
                error,
            )

    return cast(_Method, guarded)


def mirrors(loggers: Sequence[Logger]) -> list[Mirror]:
    """Those among the loggers of a training."""
    return [logger for logger in loggers if isinstance(logger, Mirror)]


@contextmanager
def finishing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Finish the trackers among ``loggers`` at the end of the ``with`` block, as failed where an exception ends it.

    A run that a signal has stopped is preempted.
    """
    try:
        yield
    except BaseException as error:
        for tracker in mirrors(loggers):
            tracker.finish(exit_code=1, is_preempted=isinstance(error, StoppedRun))
        raise
    for tracker in mirrors(loggers):
        tracker.finish()


def flat(params: Mapping[str, Any] | Namespace, prefix: str = "") -> dict[str, Any]:
    """Values of nested dictionaries by dotted keys; lists are values."""
    content = dict(params) if isinstance(params, Mapping) else vars(params)
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        values |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return values
