"""What every process knows, brought together: values, and why one of them failed."""

import time
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from deta.runs.claims import is_claimed_beside
from deta.runs.state import failure, note_failure

SECONDS_UNTIL_A_REASON = 4.0
"""How long a rank that lost another one waits for the reason; Lightning kills it 5 s after that one has ended."""
GLOO = "gloo/"
"""In the messages of this backend, which come as plain ``RuntimeError``: the file where a connection broke."""
Value = TypeVar("Value")


def gather(value: Value) -> list[Value]:
    """``value`` of every rank in the order of the ranks, on all ranks; every rank must call this."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Value | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # every None has been replaced


class ElsewhereError(Exception):
    """The reason lies with another rank, which tells it."""


class LostRankError(ElsewhereError, ConnectionError):
    """Another rank of the training is gone, or did not answer in time."""


def root_cause(error: Exception, folder: Path) -> Exception:
    """Why a training on several ranks failed: ``error``, or where it only says that another rank has, its reason.

    Args:
        error: What ended this rank.
        folder: The run directory, where the other rank leaves its reason.
    """
    is_lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and GLOO in str(error))
    if not is_lost and not isinstance(error, ElsewhereError):
        return error
    end = time.monotonic() + SECONDS_UNTIL_A_REASON
    while (reason := failure(folder)) is None and time.monotonic() < end:
        time.sleep(0.1)
    if reason is not None:
        return LostRankError(reason)
    return LostRankError(f"another rank was killed or did not answer in time ({error})") if is_lost else error


def mark_rank_failed(folder: Path, rank: int, message: str) -> None:
    """Note why another rank than the first failed; the first reason stays, and so does what another training left."""
    if failure(folder) is None and is_claimed_beside(folder):
        note_failure(folder, f"rank {rank}: {message}")
