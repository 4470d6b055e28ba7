"""A way out for a training that was asked to stop and cannot."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

SECONDS_OF_A_LOOK = 0.5


class Watchdog:
    """Leaves, once a signal has come, when the training does not move any more, and ends the process.

    Python runs the handler of a signal only between two steps of the main thread, and the wait for a rank that hangs
    is one step. So the number of the signal goes through a pipe to a thread of this object.

    Args:
        signals: Those that ask for the end.
        seconds: How long nothing moves after the signal; the time of saving, and one in which the whole process is
            frozen, does not count.
        leave: Called with the signal before the process ends at once with 128 plus its number.
        received: One that came before, obeyed as if it came now; None if none did.
    """

    def __init__(
        self,
        *,
        signals: tuple[signal.Signals, ...],
        seconds: float,
        leave: Callable[[signal.Signals], None],
        received: signal.Signals | None = None,
    ) -> None:
        self._signals = signals
        self._seconds = seconds
        self._leave = leave
        self._num_moves = 0
        self._is_saving = False
        self._has_ended = Event()
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        self._earlier = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        if received is not None:
            os.write(self._writes, bytes((received,)))
        self._thread = Thread(target=self._watch, name="deta-watchdog", daemon=True)
        self._thread.start()

    def moved(self) -> None:
        """The training has come a step further."""
        self._num_moves += 1

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Nothing ends the process inside of the ``with`` block: a large file takes its time."""
        self._is_saving = True
        try:
            yield
        finally:
            self._is_saving = False

    def stop(self) -> None:
        """Watch no more."""
        signal.set_wakeup_fd(self._earlier)
        self._has_ended.set()
        os.write(self._writes, b"\0")
        self._thread.join()
        os.close(self._reads)
        os.close(self._writes)

    def _watch(self) -> None:
        stop = self._next_signal()
        if stop is None:
            return
        num_moves, quiet = self._num_moves, 0.0
        while not self._has_ended.wait(SECONDS_OF_A_LOOK):
            is_quiet = num_moves == self._num_moves and not self._is_saving
            num_moves, quiet = self._num_moves, quiet + SECONDS_OF_A_LOOK if is_quiet else 0.0
            if quiet >= self._seconds:
                try:
                    self._leave(stop)
                finally:
                    os._exit(128 + stop)

    def _next_signal(self) -> signal.Signals | None:
        """Wait for one; None at the end."""
        while True:
            (number,) = os.read(self._reads, 1)
            if self._has_ended.is_set():
                return None
            if number in self._signals:
                return signal.Signals(number)
