"""Data loaders for training, which can stop anywhere, and for evaluation."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from deta.data.collate import Collate
from deta.data.sample import Sample
from deta.data.samplers import EvalSampler, TrainSampler
from deta.structures import Batch


class TrainLoader(DataLoader[Sample]):
    """A loader whose state is the next batch to hand out.

    Lightning saves and restores ``state_dict`` with the checkpoint and calls ``sampler.set_epoch``. It never
    asks a sized loader for more than its length, so the position moves before a batch is handed out.

    Args:
        dataset: Takes keys of ``sampler``.
        sampler: Decides order, share of this rank and batch size.
        collate: Makes the batch.
        num_workers: Processes that read images; 0 reads in this process.
        pin_memory: Put batches into page-locked memory, for copies to a GPU.
    """

    def __init__(
        self,
        *,
        dataset: Dataset[Sample],
        sampler: TrainSampler,
        collate: Collate,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            sampler=sampler,
            batch_size=sampler.batch_size,
            collate_fn=collate,
            drop_last=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            # Otherwise every epoch draws a worker seed from the global random numbers of the training.
            generator=torch.Generator(),
        )
        self._train_sampler = sampler

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Hand out the batches of an epoch, from the loaded position on."""
        for batch in super().__iter__():
            self._train_sampler.advance()
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The next position, see ``TrainSampler``."""
        return self._train_sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position with the next iteration."""
        self._train_sampler.load_state_dict(state)


def eval_loader(
    *,
    dataset: Dataset[Sample],
    sampler: EvalSampler,
    batch_size: int,
    collate: Collate,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Sample]:
    """A loader that passes once over the images of this rank, the last batch perhaps smaller."""
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )
