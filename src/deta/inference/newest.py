"""The newest of what a source gives on its own time."""

import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEFAULT_RATE = Fraction(25)
"""Frames a second where a camera or stream does not tell."""


class Newest(Generic[Item]):
    """Takes items in a thread of its own and hands out the newest; what nobody took in time is counted.

    Args:
        items: Taken as fast as they come.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.num_passed = 0
        self._items = items
        self._change = threading.Condition()
        self._newest: list[Item] = []
        self._error: BaseException | None = None
        self._is_over = False

    def __iter__(self) -> Iterator[Item]:
        """Items until the source ends; its error is raised behind the last."""
        threading.Thread(target=self._take, daemon=True).start()
        while True:
            with self._change:
                self._change.wait_for(lambda: self._newest or self._is_over)
                if not self._newest:
                    break
                item = self._newest.pop()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Take no more."""
        with self._change:
            self._is_over = True
            self._change.notify_all()

    def _take(self) -> None:
        try:
            for item in self._items:
                with self._change:
                    if self._is_over:
                        return
                    self.num_passed += len(self._newest)
                    self._newest = [item]
                    self._change.notify_all()
        except BaseException as error:  # of any kind: it is raised where items are taken
            self._error = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:  # a generator that holds a device or connection
                close()
            self.stop()
