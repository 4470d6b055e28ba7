"""Two ranks of which one is told to stop: both stop, and together they go on as if nothing had happened."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from deta.runs import preemption
from deta.runs.preemption import StoppedRun
from deta.tracking.metrics import read_metrics
from deta.training.callbacks import ResumeCheckpoint
from deta.training.checkpoint import AtomicCheckpointIO, find_resumable
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights

NUM_RANKS = 2
STRIKES = {"train": 5, "validation": 4}
"""Steps done when the signal comes: in the second epoch, and in the validation that ends the first."""


class Strike(pl.Callback):
    """Sends a signal to this process, once."""

    def __init__(self, place: str | None) -> None:
        self._place = place

    def strike(self, trainer: pl.Trainer, place: str) -> None:
        """Now, if it is the place and the step."""
        if place == self._place and trainer.global_step == STRIKES[place]:
            self._place = None
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Between two steps."""
        self.strike(trainer, "train")

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Between two batches of a validation."""
        self.strike(trainer, "validation")


def train(folder: Path, place: str | None = None) -> None:
    """Two epochs of four steps of one image on each rank, or what is left of them."""
    pl.seed_everything(0, verbose=False)
    data = shapes(folder.parent / "cache", num_train=8, num_val=4, batch_size=1, eval_batch_size=1)
    module = detection_module(data)
    resume = ResumeCheckpoint(folder=folder / "checkpoints")
    settings: dict[str, Any] = {"devices": NUM_RANKS, "strategy": "ddp", "max_epochs": 2}
    trainer = make_trainer(folder, callbacks=[resume, Strike(place)], plugins=[AtomicCheckpointIO()], **settings)
    path = find_resumable(folder) if (folder / "checkpoints").exists() else None
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    torch.save(weights(module), folder / f"rank{trainer.global_rank}.pt")


def worker(rank: int, folder: str, port: int) -> None:
    """One rank of all trainings, one after the other; writes down where it was stopped."""
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(places, LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE=str(NUM_RANKS))
    torch.set_num_threads(1)
    train(Path(folder) / "whole")
    stops = {}
    for place in STRIKES:
        try:
            train(Path(folder) / place, place if rank == 1 else None)
        except StoppedRun as stopped:
            stops[place] = stopped.step
        preemption.forget()
        train(Path(folder) / place)
    (Path(folder) / f"stops{rank}.json").write_text(json.dumps(stops))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "time"} for row in read_metrics(folder / "metrics.jsonl")
    ]


@pytest.mark.gate
def test_a_signal_to_one_rank_stops_both_and_both_go_on_exactly(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(worker, args=(str(tmp_path), port), nprocs=NUM_RANKS)
    for rank in range(NUM_RANKS):
        assert json.loads((tmp_path / f"stops{rank}.json").read_text()) == {"train": 6, "validation": 4}
        whole = torch.load(tmp_path / "whole" / f"rank{rank}.pt")
        for place in STRIKES:
            assert is_same(torch.load(tmp_path / place / f"rank{rank}.pt"), whole)
            assert rows(tmp_path / place) == rows(tmp_path / "whole")
