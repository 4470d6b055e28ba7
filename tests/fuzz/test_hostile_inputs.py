"""Hostile inputs end in one message that names their file or key, or are read as what they say.

``python -m scripts.fuzz`` tries any number of them with other seeds.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.fuzz.annotations import Annotations
from scripts.fuzz.checkpoints import Checkpoints
from scripts.fuzz.images import Images
from scripts.fuzz.overrides import Overrides
from scripts.fuzz.sides import Sides
from scripts.fuzz.trial import FINE, Kind, draw, judge

pytestmark = pytest.mark.filterwarnings("ignore")
SEED = 20_240
NUM_SHOWN = 10


class HangError(BaseException):
    """No answer in time; no handler of the product may take it for its own."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what takes longer."""

    def end(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def bad_ones(kind: Kind, number: int, folder: Path) -> list[str]:
    """What went wrong in so many inputs."""
    bad = []
    for index in range(number):
        case = draw(kind, SEED, index)
        try:
            with limited(kind.seconds):
                verdict = judge(kind, case, folder)
        except HangError:
            bad.append(f"{index}: {case.title:.80}: hangs")
            continue
        if verdict.outcome not in FINE:
            bad.append(f"{index}: {case.title:.80}: {verdict.outcome}: {verdict.detail:.200}")
    return bad


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param(Annotations, 400, id="annotations"),
        pytest.param(Images, 300, id="images"),
        pytest.param(Checkpoints, 200, id="checkpoints"),
        pytest.param(Sides, 200, id="sides"),
        pytest.param(Overrides, 30, id="overrides", marks=pytest.mark.gate),
    ],
)
def test_no_input_is_a_trace_a_hang_or_taken_for_something_else(kind: type[Kind], number: int, tmp_path: Path) -> None:
    bad = bad_ones(kind(), number, tmp_path)
    assert not bad, f"{len(bad)} of {number}:\n" + "\n".join(bad[:NUM_SHOWN])
