"""``data.batch_size=auto``: the number that a run trains with, found once and kept by its continuations."""

import gc
import logging
from pathlib import Path

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig

from deta.building.build import make_module, make_part
from deta.data.datamodule import CocoDataModule
from deta.training.batch_size import MemoryTrial, heaviest, largest_batch
from deta.training.checkpoint import read_checkpoint

_log = logging.getLogger(__name__)

AUTO = "auto"
_MOST = 1024
"""Images; a larger batch wants another schedule."""


def settle_batch_size(cfg: DictConfig, trainer: pl.Trainer, resume_path: Path | None) -> None:
    """Put a number in the place of ``auto``, that of the run where it is continued; the configuration is changed.

    The random numbers of the run are those of one that was given this number.

    Raises:
        ValueError: There is no GPU, or more than one rank, or not even one image fits.
    """
    if cfg.data.get("batch_size") != AUTO:
        return
    if resume_path is not None:
        cfg.data.batch_size = read_checkpoint(resume_path).config["data"]["batch_size"]
        return
    device = trainer.strategy.root_device
    if device.type != "cuda":
        raise ValueError(
            f"data.batch_size=auto looks for the largest batch that fits the memory of a GPU, and this run trains on "
            f"{device.type}: give a number"
        )
    if trainer.world_size > 1:
        raise ValueError(
            f"data.batch_size=auto is found on one device, and this run has {trainer.world_size} ranks: find it with "
            "trainer.devices=1 and give the number"
        )
    cfg.data.batch_size = 1
    cfg.data.batch_size = _found(cfg, trainer)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    _log.info("data.batch_size=auto is %d on this device", cfg.data.batch_size)


def _found(cfg: DictConfig, trainer: pl.Trainer) -> int:
    datamodule: CocoDataModule = make_part(cfg, "data", CocoDataModule)
    module = make_module(cfg, datamodule)
    image = heaviest(datamodule.train_dataloader())
    trial = MemoryTrial(module, image, trainer.strategy.root_device, trainer.precision_plugin.forward_context)
    try:
        return largest_batch(trial.fits, most=min(_MOST, len(datamodule.train_dataset)))
    finally:
        del trial, module
        gc.collect()
        torch.cuda.empty_cache()
