"""Data loaders for training, which can stop anywhere, and for evaluation."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from deta.data.collate import Collate
from deta.data.reader_errors import reader_failure, require_room_to_read
from deta.data.readers import reading_processes
from deta.data.sample import Sample
from deta.data.samplers import EvalSampler, TrainSampler
from deta.structures import Batch

DEFAULT_TIMEOUT = 600.0
"""Seconds that a loop waits for a batch; fetching shards from a slow store takes minutes."""


class WaitClock:
    """How long a loop waited for its batches.

    Attributes:
        seconds: Of all loops so far, the start of reading processes included.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """The batches of an iterator that ``start`` makes; the time between two of them does not count.

        Raises:
            ReaderError: A reading process is gone or silent.
        """
        begin = time.perf_counter()
        batches = start()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:
                failure = reader_failure(error)
                if failure is None:
                    raise
                raise failure from error
            finally:
                self.seconds += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()


class TrainLoader(DataLoader[Sample]):
    """A loader whose state is the next batch to hand out.

    Lightning saves and restores ``state_dict`` with the checkpoint and calls ``sampler.set_epoch``. It never
    asks a sized loader for more than its length, so the position moves before a batch is handed out.

    Args:
        dataset: Takes keys of ``sampler``.
        sampler: Decides order, share of this rank and batch size.
        collate: Makes the batch.
        num_workers: Processes that read images; 0 reads in this process.
        timeout: Seconds that the loop waits for a batch of theirs; 0 waits for ever.
        pin_memory: Put batches into page-locked memory, for copies to a GPU.

    Attributes:
        clock: How long the training waited for batches.
    """

    def __init__(
        self,
        *,
        dataset: Dataset[Sample],
        sampler: TrainSampler,
        collate: Collate,
        num_workers: int = 0,
        timeout: float = DEFAULT_TIMEOUT,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            sampler=sampler,
            batch_size=sampler.batch_size,
            collate_fn=collate,
            drop_last=True,
            num_workers=num_workers,
            multiprocessing_context=reading_processes(num_workers),
            timeout=timeout if num_workers else 0,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            # Otherwise every epoch draws a worker seed from the global random numbers of the training.
            generator=torch.Generator(),
        )
        self._train_sampler = sampler
        self.clock = WaitClock()

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # its base promises samples, the collate function makes batches
        """Hand out the batches of an epoch, from the loaded position on."""
        require_room_to_read(self.num_workers)
        for batch in self.clock.timed(super().__iter__):
            self._train_sampler.advance()
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The next position, see ``TrainSampler``."""
        return self._train_sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position with the next iteration."""
        self._train_sampler.load_state_dict(state)


class EvalLoader(DataLoader[Sample]):
    """A loader that passes once over the images of this rank, the last batch perhaps smaller.

    Args:
        dataset: Takes keys of ``sampler``.
        sampler: Decides the share of this rank.
        batch_size: Images per rank and step.
        collate: Makes the batch.
        num_workers: Processes that read images; 0 reads in this process.
        timeout: Seconds that the loop waits for a batch of theirs; 0 waits for ever.
        pin_memory: Put batches into page-locked memory, for copies to a GPU.

    Attributes:
        clock: How long the evaluation waited for batches.
    """

    def __init__(
        self,
        *,
        dataset: Dataset[Sample],
        sampler: EvalSampler,
        batch_size: int,
        collate: Collate,
        num_workers: int = 0,
        timeout: float = DEFAULT_TIMEOUT,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            sampler=sampler,
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=num_workers,
            multiprocessing_context=reading_processes(num_workers),
            timeout=timeout if num_workers else 0,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),
        )
        self.clock = WaitClock()

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # its base promises samples, the collate function makes batches
        """Hand out the batches."""
        require_room_to_read(self.num_workers)
        return self.clock.timed(super().__iter__)
