"""What reading out of shards costs, and how much of a data set an order keeps in use.

    python scripts/benchmarks/shards.py [root=../shared/data/coco_sample items=2000 rounds=5]

First, microseconds of CPU for the bytes of one image at a random position: from image files, from shards by our
reader, and from the same shards by LitData's, in turn in one process. Then, for a data set of the size of COCO
train2017 in shards of 64 MiB: how many different shards the first 100 steps of 16 images read, and how often a shard
is fetched in an epoch if the local disk keeps a part of them. Those are properties of the order, not measurements.
"""

import statistics
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from litdata import StreamingDataset
from numpy.typing import NDArray

from deta.data import read_coco
from deta.data.samplers import ShuffleGroups, TrainSampler
from deta.data.sources import FolderSplit
from deta.data.streaming.split import ShardedSplit
from deta.data.streaming.store import open_store
from deta.data.streaming.writer import ShardWriter

DEFAULTS = {"root": "../shared/data/coco_sample", "items": "2000", "rounds": "5"}
NUM_IMAGES, NUM_BYTES = 118_287, 19.3e9
"""COCO train2017: images, and bytes of the image files."""
SHARD_BYTES = 64 * 2**20
BATCH = 16
WINDOWS = (None, 64, 16, 4)


def main() -> None:
    """Measure as the command line asks."""
    options = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    read(Path(options["root"]), int(options["items"]), int(options["rounds"]))
    simulate()


def read(root: Path, num_items: int, rounds: int) -> None:
    """Print the cost of random reads."""
    split = FolderSplit(root / "annotations/instances_train2017.json", root / "train2017")
    annotations = read_coco(split.annotation_file)
    with tempfile.TemporaryDirectory() as name:
        writer = ShardWriter(
            annotations=annotations,
            files=split,
            store=open_store(name),
            shard_bytes=2**20,
            is_shuffled=True,
            say=lambda _: None,
        )
        writer.write()
        shards = ShardedSplit(address=name, cache=Path(name))
        images = shards.images(annotations)
        foreign = StreamingDataset(name)
        readers: dict[str, Callable[[int], object]] = {
            "image files": lambda index: (split.folder / annotations.file_name(index)).read_bytes(),
            "shards": images.open,
            "shards by LitData": lambda index: foreign[index],
        }
        order = np.random.default_rng(0).integers(0, len(annotations), num_items).tolist()
        costs: dict[str, list[float]] = {reader: [] for reader in readers}
        for _ in range(rounds + 1):
            for reader, function in readers.items():
                begin = time.process_time()
                for index in order:
                    function(index)
                costs[reader].append((time.process_time() - begin) / num_items * 1e6)
    for reader, values in costs.items():
        print(f"{reader:<20} {statistics.median(values[1:]):7.1f} us of CPU per image")


def simulate() -> None:
    """Print what the orders of the sampler ask of the local disk."""
    num_shards = int(NUM_BYTES // SHARD_BYTES)
    shard_of = np.random.default_rng(1).integers(0, num_shards, NUM_IMAGES)
    print(f"{NUM_IMAGES} images in {num_shards} shards of {SHARD_BYTES / 2**20:.0f} MiB")
    print("window   shards in 100 steps   fetches per epoch with room for 1/8, 1/4, 1/2, all of the shards")
    for window in WINDOWS:
        groups = None if window is None else ShuffleGroups(group=shard_of, window=window)
        order = TrainSampler(num_samples=NUM_IMAGES, batch_size=BATCH, seed=0, groups=groups).order()
        used = len(np.unique(shard_of[order[: 100 * BATCH]]))
        fetches = [count_fetches(shard_of[order], num_shards * part // 8) for part in (1, 2, 4, 8)]
        print(f"{window or 'all'!s:>6} {used:>21}   {', '.join(map(str, fetches))}")


def count_fetches(shards: NDArray[np.int64], capacity: int) -> int:
    """How many fetches a sequence of reads needs if the shards that were fetched first make room."""
    kept: OrderedDict[int, None] = OrderedDict()
    fetches = 0
    for shard in shards.tolist():
        if shard not in kept:
            fetches += 1
            kept[shard] = None
            if len(kept) > capacity:
                kept.popitem(last=False)
    return fetches


if __name__ == "__main__":
    main()
