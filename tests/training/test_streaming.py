"""A run from shards is the run from the folder, also when it is killed and continued."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from deta.data import Compose, RandomHorizontalFlip, RandomSizeCrop, ResizeShortSide, read_coco
from deta.data.streaming.store import below, open_store
from deta.data.streaming.writer import ShardWriter
from deta.training.callbacks import DataWait, ResumeCheckpoint
from deta.training.checkpoint import AtomicCheckpointIO, find_resumable
from tests.data.streaming.sharded import object_store
from tests.training.tiny import detection_module, logged, make_trainer, shapes

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
NUM_STEPS = 20
KILLED_AFTER = 11
"""Inside the second epoch of eight steps."""
NUM_TRAIN = 16
AUGMENT = Compose(
    transforms=[
        RandomHorizontalFlip(),
        RandomSizeCrop(min_side=90, max_side=120),
        ResizeShortSide(short_sides=[64, 72, 80]),
    ]
)


class _KilledError(BaseException):
    """The process is gone."""


class _Killer(pl.callbacks.Checkpoint):
    """Kills after a step, after all other callbacks."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == KILLED_AFTER:
            raise _KilledError


def train(cache: Path, folder: Path, *callbacks: pl.Callback, **source: Any) -> list[float]:  # noqa: ANN401
    """Train or continue; returns the loss of every step."""
    pl.seed_everything(0, verbose=False)
    data = shapes(cache, num_train=NUM_TRAIN, num_val=2, train_transform=AUGMENT, **source)
    module = detection_module(data)
    resume = ResumeCheckpoint(folder=folder / "checkpoints", every_n_steps=1)
    trainer = make_trainer(
        folder,
        callbacks=[DataWait(), resume, *callbacks],
        max_epochs=None,
        max_steps=NUM_STEPS,
        limit_val_batches=0,
        plugins=[AtomicCheckpointIO()],
    )
    path = find_resumable(folder) if (folder / "checkpoints").exists() else None
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    return [float(loss) for loss in logged(folder, "train/loss")]


@pytest.fixture(scope="module")
def expected(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of an uninterrupted run from the folder."""
    return train(cache, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def addresses(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The same images as shards in a folder and in an object store."""
    data = shapes(cache, num_train=NUM_TRAIN, num_val=2)
    data.prepare_data()
    with object_store() as remote:
        places = {"local": str(tmp_path_factory.mktemp("shards")), "remote": remote}
        for address in places.values():
            for name, files in data.folders.items():
                writer = ShardWriter(
                    annotations=read_coco(files.annotation_file),
                    files=files,
                    store=open_store(below(address, name)),
                    shard_bytes=20_000,
                    is_shuffled=True,
                    say=lambda _: None,
                )
                assert len(writer.write().manifest.shards) > 2 or name == "val"
        yield places


@pytest.mark.parametrize(
    ("place", "workers", "workers_after"),
    [
        pytest.param("local", 0, 2, marks=pytest.mark.gate),
        ("local", 2, 1),
        pytest.param("remote", 1, 0, marks=pytest.mark.gate),
        pytest.param("remote", 0, 2, marks=pytest.mark.gate),
    ],
)
def test_twenty_steps_killed_after_eleven_have_the_losses_of_the_folder(
    cache: Path,
    tmp_path: Path,
    expected: list[float],
    addresses: dict[str, str],
    place: str,
    workers: int,
    workers_after: int,
) -> None:
    source = {"source": "shards", "shards": addresses[place], "shard_cache": tmp_path / "cache"}
    with pytest.raises(_KilledError):
        train(cache, tmp_path / "run", _Killer(), **source, num_workers=workers)
    losses = train(cache, tmp_path / "run", **source, num_workers=workers_after)
    assert len(losses) == len(set(losses)) == NUM_STEPS
    assert losses == expected


def test_a_run_from_the_folder_is_continued_from_shards(
    cache: Path, tmp_path: Path, expected: list[float], addresses: dict[str, str]
) -> None:
    with pytest.raises(_KilledError):
        train(cache, tmp_path / "run", _Killer())
    assert train(cache, tmp_path / "run", source="shards", shards=addresses["local"]) == expected
