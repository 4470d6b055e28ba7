"""``deta train``: train a detector and evaluate it after every epoch."""

import json
import logging
import sys
from pathlib import Path
from typing import NoReturn

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from deta.commands.build import make, make_module, plain, start_from
from deta.commands.console import describe, reports_errors
from deta.commands.evaluations import evaluate_final_weights
from deta.commands.naming import effective
from deta.data.datamodule import CocoDataModule
from deta.engine import preemption
from deta.engine.checkpoint import AtomicCheckpointIO, find_resumable, read_checkpoint
from deta.engine.environment import describe_run
from deta.engine.figures import write_run_figures
from deta.engine.module import DetectionModule
from deta.engine.preemption import StoppedRun
from deta.engine.processes import (
    SECONDS_OF_PATIENCE,
    choose_environment,
    limit_waits,
    require_one_rank_per_process,
    share_cpus,
    starts_own_ranks,
    tell_threads,
)
from deta.engine.ranks import ElsewhereError, mark_rank_failed, root_cause
from deta.engine.runs import mark_done, mark_failed, mark_running, mark_stopped
from deta.engine.wandb_tracker import finishing
from deta.studies import settings
from deta.studies.settings import differences
from deta.utils.checks import require_bool, require_int, require_number

_log = logging.getLogger(__name__)


@reports_errors
def run(cfg: DictConfig) -> None:
    """Train as configured; the run directory holds configuration, metrics, checkpoints and pictures.

    It also tells the state of the run, see ``deta.engine.runs``.
    """
    folder = Path(cfg.run_dir)
    pl.seed_everything(require_int("seed", cfg.seed, low=0, high=2**32 - 1), workers=True, verbose=False)
    try:
        trainer = make_trainer(cfg)
        _require_processes(trainer)
        resume_path = None if cfg.ckpt is None else find_resumable(cfg.ckpt)
    except Exception as error:  # of any kind: the run tells its state
        mark_failed(folder, describe(error))
        raise
    if not trainer.is_global_zero:
        _train_beside(cfg, trainer, resume_path)
        return
    if cfg.ckpt is None and (folder / "metrics.jsonl").exists():
        raise FileExistsError(f"{folder} holds another run: continue it with ckpt={folder}, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark_running(folder)
    tell_threads()
    try:
        _require_no_signal()
        module = _train(cfg, trainer, resume_path)
    except StoppedRun as stopped:
        _leave(stopped, folder)
    except Exception as error:  # of any kind: the run tells its state
        cause = root_cause(error, folder)
        mark_failed(folder, describe(cause))
        raise cause from error.__cause__
    except BaseException:
        mark_stopped(folder)
        raise
    metrics = {} if module.result is None else module.result.metrics()
    _report(module, folder)
    mark_done(folder, {"step": trainer.global_step, "epoch": trainer.current_epoch, **metrics})


def _train_beside(cfg: DictConfig, trainer: pl.Trainer, resume_path: Path | None) -> None:
    """Train as another rank than the first, which tells the state of the run; the reason of a failure is told here."""
    folder = Path(cfg.run_dir)
    try:
        _train(cfg, trainer, resume_path)
    except StoppedRun:
        pass  # the first rank tells; a failure here would have SLURM kill it before
    except Exception as error:  # of any kind: the first rank knows only that this one is gone
        cause = root_cause(error, folder)
        if not isinstance(cause, ElsewhereError):
            mark_rank_failed(folder, trainer.global_rank, describe(error))
        raise cause from error.__cause__


def _train(cfg: DictConfig, trainer: pl.Trainer, resume_path: Path | None) -> DetectionModule:
    datamodule: CocoDataModule = make(cfg.data)
    selections = {str(name): make(node) for name, node in cfg.evaluations.items()}
    module = make_module(cfg, datamodule)
    if cfg.weights is not None:
        start_from(module.detector, read_checkpoint(cfg.weights))
    if require_bool("compile", cfg.compile):
        module.detector.compile()
    if trainer.is_global_zero:
        _write_record(cfg, Path(cfg.run_dir))
    with finishing(trainer.loggers):
        for logger in trainer.loggers:
            logger.log_hyperparams({**plain(cfg), "environment": describe_run(seed=cfg.seed)})
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume_path, weights_only=True)
    evaluate_final_weights(selections, Path(cfg.run_dir), trainer, module, datamodule)
    return module


def _require_no_signal() -> None:
    """A signal that came while packages were imported is obeyed before anything is begun: the time may be short."""
    stop = preemption.received()
    if stop is not None:
        raise StoppedRun(stop, None)


def _leave(stopped: StoppedRun, folder: Path) -> NoReturn:
    """End the process as the signal asks; after a preemption the job goes back into the queue."""
    print(f"\ndeta: {stopped}; deta train ckpt={folder} continues it", file=sys.stderr)
    preemption.hand_over(stopped.signal, folder)
    sys.exit(128 + stopped.signal)


def make_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with its callbacks and loggers; a null entry of either group is left out."""
    require_int("trainer.max_epochs", cfg.trainer.max_epochs, low=-1)
    require_int("trainer.max_steps", cfg.trainer.max_steps, low=-1)
    require_int("trainer.accumulate_grad_batches", cfg.trainer.accumulate_grad_batches, low=1)
    require_int("trainer.check_val_every_n_epoch", cfg.trainer.check_val_every_n_epoch, low=1)
    require_int("trainer.log_every_n_steps", cfg.trainer.log_every_n_steps, low=1)
    if cfg.trainer.deterministic != "warn":
        require_bool("trainer.deterministic", cfg.trainer.deterministic)
    _warn_of_epochs_without_validation(cfg.trainer.max_epochs, cfg.trainer.check_val_every_n_epoch)
    nodes = {name: node for name, node in cfg.callbacks.items() if node is not None}
    if not cfg.trainer.enable_progress_bar:
        nodes.pop("progress", None)
    callbacks = [make(node) for node in nodes.values()]
    loggers = [make(node) for node in cfg.logger.values() if node is not None]
    environment = choose_environment(devices=plain(cfg.trainer).get("devices"), num_nodes=cfg.trainer.num_nodes)
    arguments = cfg.trainer.copy()
    with open_dict(arguments):
        patience = arguments.pop("seconds_of_patience", SECONDS_OF_PATIENCE)
    trainer: pl.Trainer = make(
        arguments,
        callbacks=callbacks,
        logger=[logger for logger in loggers if logger is not None],
        plugins=[AtomicCheckpointIO(), environment],
    )
    require_one_rank_per_process(trainer, environment)
    limit_waits(trainer, seconds=require_number("trainer.seconds_of_patience", patience, low=1))
    share_cpus(trainer)
    return trainer


def _require_processes(trainer: pl.Trainer) -> None:
    """A run of a sweep in this process cannot start further ranks: they would start the sweep again."""
    if HydraConfig.get().mode == RunMode.MULTIRUN and starts_own_ranks(trainer):
        raise ValueError(
            f"a sweep in one process trains on one device, but this run has {trainer.world_size} ranks: use "
            "cluster=sbatch, let deta runs resume do the runs one by one, or set trainer.devices=1"
        )


def _warn_of_epochs_without_validation(max_epochs: int, interval: int) -> None:
    rest = max_epochs % interval if max_epochs > 0 else 0
    if rest:
        _log.warning(
            "The last %d of %d epochs are not evaluated: trainer.check_val_every_n_epoch=%d",
            rest,
            max_epochs,
            interval,
        )


def _write_record(cfg: DictConfig, folder: Path) -> None:
    """Write ``config.yaml`` and ``environment.json``; a continued run keeps those of its earlier parts."""
    folder.mkdir(parents=True, exist_ok=True)
    part = len(list(folder.glob("environment*.json")))
    suffix = f"-{part}" if part else ""
    if part:
        _tell_changes(cfg, folder / f"config{f'-{part - 1}' if part > 1 else ''}.yaml")
    (folder / f"config{suffix}.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    (folder / f"environment{suffix}.json").write_text(json.dumps(describe_run(seed=cfg.seed), indent=2) + "\n")


def _tell_changes(cfg: DictConfig, earlier: Path) -> None:
    """Say in which settings this part of a run differs from the part before."""
    before = OmegaConf.load(earlier)
    assert isinstance(before, DictConfig)
    changes = differences(effective(before), effective(cfg))
    if changes:
        told = ", ".join(f"{key} {_shown(before)} -> {_shown(now)}" for key, (before, now) in changes.items())
        _log.warning("This part of the run has other settings than the one before: %s", told)


def _shown(value: object) -> str:
    return "absent" if value is settings.ABSENT else str(value)


def _report(module: DetectionModule, folder: Path) -> None:
    figures = write_run_figures(folder)
    if module.result is not None:
        print(f"\n{module.result.table()}\n")
    print(f"Run directory: {folder.resolve()}")
    for name in ("config.yaml", "metrics.csv", "classes.csv", "checkpoints", "pictures"):
        if (folder / name).exists():
            print(f"  {folder / name}")
    for path in figures:
        print(f"  {path}")
