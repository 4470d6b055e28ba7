"""Work on a stream in three stages at once: items are read ahead, batched by size, and batches are worked on in lanes.

Results come in the order of the items. What waits anywhere is bounded.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Answer = TypeVar("Answer")


class Awaited(ABC):
    """Items of which the next one may be long in coming."""

    @abstractmethod
    def stop(self) -> None:
        """Wait no longer: nobody takes them."""


@dataclass(frozen=True)
class Pipeline(Generic[Item, Read, Answer]):
    """Reads, batches and answers.

    Attributes:
        read: Makes what is batched of an item, in a reading thread; None leaves the item out.
        key: What the items of one batch share.
        most: Items of a batch with such a key, from 1.
        answer: Answers of a batch, in its order, in a lane.
        num_readers: Reading threads, from 1.
        num_lanes: Batches that are worked on at once, from 1.
    """

    read: Callable[[Item], Read | None]
    key: Callable[[Read], Hashable]
    most: Callable[[Read], int]
    answer: Callable[[Sequence[Read]], Sequence[Answer]]
    num_readers: int = 1
    num_lanes: int = 1

    def run(self, items: Iterable[Item]) -> Generator[Answer, None, None]:
        """Answers in the order of the items; an error of any stage comes where its answer would have come.

        Where nothing has been read yet, batches that are not full are worked on rather than waited for. ``Awaited``
        items are stopped once no more answers are taken.
        """
        stop = threading.Event()
        ahead: queue.Queue[Future[Read | None] | None] = queue.Queue(maxsize=2 * self.num_readers + self.num_lanes)
        with ThreadPoolExecutor(self.num_readers, "read") as readers, ThreadPoolExecutor(self.num_lanes) as lanes:
            feeder = threading.Thread(target=self._feed, args=(items, readers, ahead, stop), daemon=True)
            feeder.start()
            try:
                yield from _Batching(self, ahead, lanes).run()
            finally:
                stop.set()
                if isinstance(items, Awaited):
                    items.stop()
                readers.shutdown(wait=False, cancel_futures=True)
                lanes.shutdown(wait=False, cancel_futures=True)

    def _feed(
        self,
        items: Iterable[Item],
        readers: ThreadPoolExecutor,
        ahead: "queue.Queue[Future[Read | None] | None]",
        stop: threading.Event,
    ) -> None:
        try:
            for item in items:
                if stop.is_set():
                    return
                _put(ahead, readers.submit(self.read, item), stop)
            _put(ahead, None, stop)
        except BaseException as error:  # of any kind: it is raised where the answers are taken
            failed: Future[Read | None] = Future()
            failed.set_exception(error)
            _put(ahead, failed, stop)


def _put(
    ahead: "queue.Queue[Future[Read | None] | None]", entry: Future[Read | None] | None, stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            ahead.put(entry, timeout=0.1)
        except queue.Full:
            continue
        return


@dataclass
class _Slot(Generic[Answer]):
    """Place of an answer in the order; the batch that gives it is known once it is submitted."""

    batch: Future[Sequence[Answer]] | None = None
    index: int = 0


class _Batching(Generic[Item, Read, Answer]):
    """What waits between reading and answers; used by one thread."""

    def __init__(
        self,
        pipeline: Pipeline[Item, Read, Answer],
        ahead: "queue.Queue[Future[Read | None] | None]",
        lanes: ThreadPoolExecutor,
    ) -> None:
        self._pipeline, self._ahead, self._lanes = pipeline, ahead, lanes
        self._waiting: dict[Hashable, list[tuple[Read, _Slot[Answer]]]] = defaultdict(list)
        self._slots: deque[_Slot[Answer]] = deque()
        self._num_waiting = 0
        self._coming: Future[Read | None] | None = None
        self._is_over = False

    def run(self) -> Iterator[Answer]:
        """Answers in order."""
        while True:
            taken = self._next()
            if taken is not None:
                self._add(taken)
            elif self._num_waiting and (self._is_over or self._num_busy() < self._pipeline.num_lanes):
                self._submit_all()
            elif self._slots:
                if self._is_answered_first():
                    yield self._first()
            elif self._is_over:
                return
            while self._slots and (self._is_too_much() or self._is_ready()):
                yield self._first()

    def _next(self) -> Read | None:
        """What has been read; None where that would have to be waited for while something else can be done."""
        while not self._is_over:
            if self._coming is None:
                try:
                    self._coming = self._ahead.get(block=not self._slots)
                except queue.Empty:
                    return None
                if self._coming is None:
                    self._is_over = True
                    return None
            if self._slots and not self._coming.done():
                return None
            future, self._coming = self._coming, None
            try:
                read = future.result()
            except BaseException as error:
                self._fail(error)
                return None
            if read is not None:
                return read
        return None

    def _is_answered_first(self) -> bool:
        """Wait for the next answer or for what is being read, and say whether it is the answer that has come."""
        batch = self._slots[0].batch
        if self._coming is None or batch is None:
            return True
        either: tuple[Future[Any], ...] = (self._coming, batch)
        wait(either, return_when=FIRST_COMPLETED)
        return batch.done()

    def _fail(self, error: BaseException) -> None:
        """Let the error come behind the answers before it; nothing comes after it."""
        self._submit_all()
        failed: Future[Sequence[Answer]] = Future()
        failed.set_exception(error)
        self._slots.append(_Slot(failed))
        self._is_over = True

    def _add(self, read: Read) -> None:
        slot: _Slot[Answer] = _Slot()
        self._slots.append(slot)
        key = self._pipeline.key(read)
        bucket = self._waiting[key]
        bucket.append((read, slot))
        self._num_waiting += 1
        most = self._pipeline.most(read)
        if len(bucket) >= most:
            self._submit(key)
        elif self._num_waiting >= 2 * most:
            self._submit(next(iter(self._waiting)))  # that of the item that has waited longest

    def _submit(self, key: Hashable) -> None:
        bucket = self._waiting.pop(key)
        self._num_waiting -= len(bucket)
        batch = self._lanes.submit(self._pipeline.answer, [read for read, _ in bucket])
        for index, (_, slot) in enumerate(bucket):
            slot.batch, slot.index = batch, index

    def _submit_all(self) -> None:
        for key in list(self._waiting):
            self._submit(key)

    def _first(self) -> Answer:
        slot = self._slots[0]
        if slot.batch is None:
            self._submit_all()
        assert slot.batch is not None
        answer = slot.batch.result()[slot.index]
        self._slots.popleft()
        return answer

    def _is_ready(self) -> bool:
        batch = self._slots[0].batch
        return batch is not None and batch.done()

    def _num_busy(self) -> int:
        """Batches that have not been answered."""
        return sum(not batch.done() for batch in self._batches())

    def _is_too_much(self) -> bool:
        """Whether more batches wait for a lane, or for their turn, than keep it busy."""
        return len(self._batches()) > 2 * self._pipeline.num_lanes

    def _batches(self) -> set[Future[Sequence[Answer]]]:
        return {slot.batch for slot in self._slots if slot.batch is not None}
