"""Order, batches, errors and ends of a pipeline."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import pytest

from deta.inference.pipeline import Pipeline


def pipeline(batches: list[list[int]], *, most: int = 4, lanes: int = 2, slow: int = -1) -> Pipeline[int, int, int]:
    """Batches numbers by their last digit and doubles them; the number ``slow`` takes long."""

    def answer(batch: Sequence[int]) -> list[int]:
        if slow in batch:
            time.sleep(0.05)
        batches.append(list(batch))
        return [2 * value for value in batch]

    def read(value: int) -> int | None:
        if value < 0:
            raise ValueError(f"{value} is negative")
        return None if value % 10 == 9 else value

    return Pipeline(
        read=read, key=lambda v: v % 10 % 2, most=lambda _: most, answer=answer, num_readers=2, num_lanes=lanes
    )


def test_answers_come_in_the_order_of_the_items_though_batches_mix_them() -> None:
    batches: list[list[int]] = []
    answers = list(pipeline(batches, slow=0).run(range(50)))
    assert answers == [2 * value for value in range(50) if value % 10 != 9]
    assert all(len({value % 10 % 2 for value in batch}) == 1 for batch in batches)
    assert max(len(batch) for batch in batches) <= 4


def test_no_item_gives_no_answer() -> None:
    assert list(pipeline([]).run([])) == []


def test_an_item_that_is_alone_of_its_kind_does_not_wait_for_the_end() -> None:
    taken = pipeline([]).run(chain([1], range(0, 10**9, 2)))
    assert next(taken) == 2
    taken.close()


def test_an_error_of_reading_comes_behind_the_answers_before_it() -> None:
    answers = pipeline([]).run([2, 4, -1, 6])
    assert [next(answers), next(answers)] == [4, 8]
    with pytest.raises(ValueError, match="-1 is negative"):
        next(answers)


def test_an_error_of_the_source_comes_behind_the_answers_before_it() -> None:
    def items() -> Iterator[int]:
        yield 2
        raise OSError("the disk is gone")

    answers = pipeline([]).run(items())
    assert next(answers) == 4
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)


def test_an_endless_source_is_read_only_as_far_as_its_answers_are_taken() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for value in range(0, 10**9, 2):
            read.append(value)
            yield value

    answers = pipeline([], most=1).run(items())
    for _ in range(5):
        next(answers)
    time.sleep(0.1)
    assert len(read) < 40
    answers.close()
    for thread in [each for each in threading.enumerate() if each.name.startswith("read")]:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("slow", ["source", "reader"])
def test_what_is_there_is_answered_while_the_next_is_waited_for(slow: str) -> None:
    goes_on = threading.Event()

    def items() -> Iterator[int]:
        yield 2
        if slow == "source":
            assert goes_on.wait(5)
        yield 4

    def read(value: int) -> int:
        if value == 4 and slow == "reader":
            assert goes_on.wait(5)
        return value

    answers = replace(pipeline([], most=8), read=read).run(items())
    assert next(answers) == 4
    goes_on.set()
    assert next(answers) == 8
