"""Which sample comes when: a function of seed and epoch alone."""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from deta.data.sample import SampleKey
from deta.utils.checks import require_int
from deta.utils.wording import counted


@dataclass(frozen=True, eq=False)
class ShuffleGroups:
    """Images that are mixed some groups at a time, so that few groups are in use at any moment.

    Attributes:
        group: ``[N]`` group of every image, such as the shard it lies in.
        window: Groups that are mixed together, from 1; which ones is drawn anew every epoch.
    """

    group: NDArray[np.int64]
    window: int

    def arrange(self, order: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Image positions in random order, put window by window; inside a window they keep their order."""
        names, group = np.unique(self.group, return_inverse=True)
        window_of_group = generator.permutation(len(names)) // self.window
        return order[np.argsort(window_of_group[group[order]], kind="stable")]

    def checksum(self) -> int:
        """A number that differs wherever the orders do, and is not 0."""
        return 1 + zlib.crc32(np.append(self.group, self.window).astype("<i8").tobytes())


class TrainSampler(Sampler[SampleKey]):
    """A new random order every epoch, dealt to the ranks in turn, that continues exactly where it stopped.

    With ``repeat_factors`` some images come several times in an epoch: of a factor of 2.3, two times or three, each
    with its own augmentation, and 2.3 times on average over the epochs.

    The order depends on ``(seed, epoch)`` alone. With one global batch size (``batch_size * num_ranks``)
    every optimizer step sees the same images, whatever the number of ranks and workers. The last images of
    the order, too few for a global batch, are left out of that epoch; another epoch leaves out others.

    The state is the *next* position: after the last batch of an epoch it is the start of the next epoch.
    Workers fetch ahead, so the loader tells by ``advance`` when a batch is really handed out.

    Args:
        num_samples: Images in the data set; at least one global batch.
        batch_size: Images per rank and step.
        seed: Decides the orders.
        rank: This process.
        num_ranks: All processes.
        repeat_factors: ``[num_samples]`` how often each image comes in an epoch, multiples of ``2 ** -20`` as
            ``deta.data.frequency.repeat_factors`` gives them; None is once.
        groups: Of the images, if not all are to be mixed at once; all repeats of an image stay in its group.
    """

    def __init__(
        self,
        *,
        num_samples: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        repeat_factors: NDArray[np.float64] | None = None,
        groups: ShuffleGroups | None = None,
    ) -> None:
        self._num_samples = require_int("num_samples", num_samples, low=1)
        if repeat_factors is not None and repeat_factors.shape != (num_samples,):
            raise ValueError(f"repeat_factors must have shape ({num_samples},), got {repeat_factors.shape}")
        self._repeat_factors = repeat_factors
        self._order_size = num_samples if repeat_factors is None else math.floor(repeat_factors.sum())
        self._seed = require_int("seed", seed, low=0)
        self._num_ranks = require_int("num_ranks", num_ranks, low=1)
        self._rank = require_int("rank", rank, low=0, high=num_ranks - 1)
        self._batch_size = require_int("batch_size", batch_size, low=1)
        self._global_batch = batch_size * num_ranks
        if self._order_size < self._global_batch:
            raise ValueError(
                f"a training step takes {counted(self._global_batch, 'image')} (data.batch_size {batch_size} on "
                f"{counted(num_ranks, 'rank')}), but the data have {self._order_size}; make data.batch_size smaller"
            )
        self._epoch_size = self._order_size // self._global_batch * self._global_batch
        self._groups = groups
        if groups is not None and len(groups.group) != num_samples:
            raise ValueError(f"groups must have one entry for each of {num_samples} images, got {len(groups.group)}")
        self._epoch = 0
        self._position = 0
        self._start = 0

    @property
    def num_left_out(self) -> int:
        """Images of every order that are too few for a global batch; with repeat factors one more or less."""
        return self._order_size - self._epoch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; a loaded position is kept if it is of this epoch."""
        if epoch != self._epoch:
            self._start = 0
        self._epoch = require_int("epoch", epoch, low=0)
        self._position = self._start

    def order(self) -> NDArray[np.int64]:
        """Image positions in the order of the present epoch, the same on all ranks.

        There are ``num_samples`` of them; with repeat factors their sum, rounded down or up.
        """
        generator = np.random.default_rng((self._seed, self._epoch))
        order = generator.permutation(self._num_samples)
        if self._repeat_factors is not None:
            # Rounding running sums, not each factor by itself, keeps the length of all epochs equal but for one.
            ends = np.floor(np.cumsum(self._repeat_factors[order]) + generator.random()).astype(np.int64)
            order = generator.permutation(np.repeat(order, np.diff(ends, prepend=0)))
        return order if self._groups is None else self._groups.arrange(order, generator)

    def __iter__(self) -> Iterator[SampleKey]:
        self._position, self._start = self._start, 0
        positions = range(self._position + self._rank, self._epoch_size, self._num_ranks)
        epoch, order = self._epoch, self.order()
        repeats = _earlier_occurrences(order)
        return (SampleKey(epoch, int(order[position]), int(repeats[position])) for position in positions)

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self._epoch_size // self._num_ranks

    @property
    def batch_size(self) -> int:
        """Samples of this rank in a step."""
        return self._batch_size

    def advance(self) -> None:
        """Note that one batch on every rank is handed out."""
        self._position += self._global_batch

    def state_dict(self) -> dict[str, int]:
        """The next position, and what it is meaningful for; plain integers, the same on all ranks."""
        is_finished = self._position >= self._epoch_size
        return {
            "epoch": self._epoch + is_finished,
            "position": 0 if is_finished else self._position,
            "seed": self._seed,
            "num_samples": self._num_samples,
            "order_size": self._order_size,
            "global_batch": self._global_batch,
            "shuffle_groups": 0 if self._groups is None else self._groups.checksum(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position.

        Raises:
            ValueError: If the position is inside an epoch of another order: other seed, number of images, repeat
                factors, global batch size or shuffle groups. At the start of an epoch these may change.
        """
        # States that know neither repeats nor groups are of epochs without.
        own, saved = self.state_dict(), {"order_size": state["num_samples"], "shuffle_groups": 0, **state}
        changed = [
            f"{key} was {saved[key]}, is {own[key]}"
            for key in ("seed", "num_samples", "order_size", "global_batch", "shuffle_groups")
            if saved[key] != own[key]
        ]
        if changed and state["position"]:
            raise ValueError(
                f"the checkpoint stopped inside epoch {state['epoch']} and cannot go on there: "
                f"{'; '.join(changed)}. Restore these values (global_batch is data.batch_size times the "
                "number of ranks, order_size follows from data.repeat_threshold, shuffle_groups stands for "
                "data.shuffle_window and the shards), or resume from the end of an epoch"
            )
        self._epoch = state["epoch"]
        self._start = self._position = state["position"]


def _earlier_occurrences(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each value stands further ahead in the array."""
    by_value = np.argsort(values, kind="stable")
    in_order = values[by_value]
    is_first = np.concatenate((np.ones(min(1, len(values)), dtype=np.bool_), in_order[1:] != in_order[:-1]))
    places = np.arange(len(values))
    starts = np.maximum.accumulate(np.where(is_first, places, 0))
    counts = np.empty_like(places)
    counts[by_value] = places - starts
    return counts


class EvalSampler(Sampler[SampleKey]):
    """Every image once, in order, dealt to the ranks in turn.

    Nothing is repeated to even out the ranks, so one rank may have a batch more than another: code that
    communicates between ranks in every evaluation step would hang.

    Args:
        num_samples: Images in the data set.
        rank: This process.
        num_ranks: All processes.
    """

    def __init__(self, *, num_samples: int, rank: int = 0, num_ranks: int = 1) -> None:
        self._num_samples = require_int("num_samples", num_samples, low=0)
        self._num_ranks = require_int("num_ranks", num_ranks, low=1)
        self._rank = require_int("rank", rank, low=0, high=num_ranks - 1)

    def __iter__(self) -> Iterator[SampleKey]:
        return (SampleKey(0, index) for index in range(self._rank, self._num_samples, self._num_ranks))

    def __len__(self) -> int:
        """Samples of this rank."""
        return math.ceil((self._num_samples - self._rank) / self._num_ranks)
