"""Work that one process does for all of them; a single process needs no process group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class _Outcome:
    value: Any
    failure: str | None


def gather_to_first_rank(value: T) -> list[T]:
    """The values of all ranks in rank order on the first rank; on the others a list of their own value alone.

    Every rank must call this. The values may differ in size; they are pickled.
    """
    if not _is_distributed():
        return [value]
    is_first = dist.get_rank() == 0
    gathered: list[Any] | None = [None] * dist.get_world_size() if is_first else None
    dist.gather_object(value, gathered)
    return [value] if gathered is None else gathered


def run_on_first_rank(function: Callable[[], T]) -> T:
    """Run ``function`` on the first rank and return its value on every rank.

    Every rank must call this. The others wait, so an error on the first rank is passed on to all of them.

    Raises:
        RuntimeError: On the other ranks, if ``function`` fails; the first rank raises the error itself.
    """
    if not _is_distributed():
        return function()
    if dist.get_rank() != 0:
        outcome: list[_Outcome | None] = [None]
        dist.broadcast_object_list(outcome)
        assert outcome[0] is not None
        if outcome[0].failure is not None:
            raise RuntimeError(f"the first rank failed: {outcome[0].failure}")
        value: T = outcome[0].value
        return value
    try:
        value = function()
    except Exception as error:  # of any kind: the other ranks wait for an answer
        dist.broadcast_object_list([_Outcome(None, f"{type(error).__name__}: {error}")])
        raise
    dist.broadcast_object_list([_Outcome(value, None)])
    return value


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
