"""``deta train``: train a detector and evaluate it after every epoch."""

import json
from pathlib import Path

import lightning.pytorch as pl
import wandb
import yaml
from omegaconf import DictConfig

from deta.commands.build import make, make_datamodule, make_module, plain, start_from
from deta.commands.errors import reports_errors
from deta.engine.checkpoint import find_checkpoint, read_checkpoint
from deta.engine.environment import describe_run
from deta.engine.figures import write_run_figures
from deta.engine.module import DetectionModule


@reports_errors
def run(cfg: DictConfig) -> None:
    """Train as configured; the run directory holds configuration, metrics, checkpoints and pictures."""
    folder = Path(cfg.run_dir)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = make_datamodule(cfg)
    module = make_module(cfg, datamodule)
    if cfg.weights is not None:
        start_from(module.detector, read_checkpoint(cfg.weights))
    if cfg.compile:
        module.detector.compile()
    trainer = make_trainer(cfg)
    if trainer.is_global_zero:
        _write_record(cfg, folder)
    for logger in trainer.loggers:
        logger.log_hyperparams(plain(cfg))
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=_resume_path(cfg), weights_only=False)
    finally:
        wandb.finish()
    if trainer.is_global_zero:
        _report(module, folder)


def make_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with its callbacks and loggers; a null entry of either group is left out."""
    callbacks = [make(node) for node in cfg.callbacks.values() if node is not None]
    loggers = [make(node) for node in cfg.logger.values() if node is not None]
    trainer: pl.Trainer = make(
        cfg.trainer, callbacks=callbacks, logger=[logger for logger in loggers if logger is not None]
    )
    return trainer


def _resume_path(cfg: DictConfig) -> str | None:
    return None if cfg.ckpt is None else str(find_checkpoint(cfg.ckpt, name="last"))


def _write_record(cfg: DictConfig, folder: Path) -> None:
    """Write ``config.yaml`` and ``environment.json``; a continued run keeps those of its earlier parts."""
    folder.mkdir(parents=True, exist_ok=True)
    part = len(list(folder.glob("environment*.json")))
    suffix = f"-{part}" if part else ""
    (folder / f"config{suffix}.yaml").write_text(yaml.safe_dump(plain(cfg), sort_keys=False))
    (folder / f"environment{suffix}.json").write_text(json.dumps(describe_run(seed=cfg.seed), indent=2) + "\n")


def _report(module: DetectionModule, folder: Path) -> None:
    figures = write_run_figures(folder)
    if module.result is not None:
        print(f"\n{module.result.table()}\n")
    print(f"Run directory: {folder.resolve()}")
    for name in ("config.yaml", "metrics.csv", "checkpoints", "pictures"):
        if (folder / name).exists():
            print(f"  {folder / name}")
    for path in figures:
        print(f"  {path}")
