"""How long a loop waited for its batches."""

import time
from collections.abc import Iterator

import pytest

from deta.data.loaders import WaitClock


def slow(start: float, each: float) -> Iterator[int]:
    time.sleep(start)
    for number in range(3):
        time.sleep(each)
        yield number


def test_only_the_time_until_each_batch_counts() -> None:
    clock = WaitClock()
    seen = []
    begin = time.perf_counter()
    for number in clock.timed(lambda: slow(0.1, 0.05)):
        seen.append(number)
        time.sleep(0.2)
    assert seen == [0, 1, 2]
    assert 0.25 <= clock.seconds <= time.perf_counter() - begin - 0.6


def test_several_loops_add_up() -> None:
    clock = WaitClock()
    for _ in range(2):
        list(clock.timed(lambda: slow(0.0, 0.05)))
    assert clock.seconds >= 0.3


def test_an_error_of_the_reader_comes_through_and_counts() -> None:
    def failing() -> Iterator[int]:
        yield 0
        time.sleep(0.1)
        raise OSError("gone")

    clock = WaitClock()
    with pytest.raises(OSError, match="gone"):
        list(clock.timed(failing))
    assert clock.seconds >= 0.1
