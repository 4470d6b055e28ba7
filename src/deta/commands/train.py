"""``deta train``: train a detector and evaluate it after every epoch."""

import contextlib
import logging
import sys
from pathlib import Path
from typing import NoReturn

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from deta.commands.build import make, make_module, plain, start_from
from deta.commands.console import describe, reports_errors
from deta.commands.datasets import require_same_data
from deta.commands.evaluations import evaluate_final_weights
from deta.commands.parts import last_config
from deta.commands.record import PartRecord
from deta.data.datamodule import CocoDataModule
from deta.engine import preemption
from deta.engine.checkpoint import AtomicCheckpointIO, find_resumable, read_checkpoint
from deta.engine.cluster import this_job
from deta.engine.data_record import read_data
from deta.engine.figures import write_run_figures
from deta.engine.module import DetectionModule
from deta.engine.preemption import StoppedRun
from deta.engine.processes import choose_environment, require_one_rank_per_process, starts_own_ranks
from deta.engine.runs import mark_done, mark_failed, mark_queued, mark_running, mark_stopped
from deta.engine.wandb_tracker import finishing
from deta.utils.checks import require_bool, require_int

_log = logging.getLogger(__name__)


@reports_errors
def run(cfg: DictConfig) -> None:
    """Train as configured; the run directory holds configuration, metrics, checkpoints and pictures.

    It also tells the state of the run, see ``deta.engine.runs``.
    """
    folder = Path(cfg.run_dir)
    pl.seed_everything(require_int("seed", cfg.seed, low=0, high=2**32 - 1), workers=True, verbose=False)
    try:
        resume_path = None if cfg.ckpt is None else find_resumable(cfg.ckpt)
        if resume_path is not None and last_config(folder) is not None:
            require_same_data(cfg, [folder])
        trainer = make_trainer(cfg, PartRecord(cfg, folder, is_continued=resume_path is not None))
        _require_processes(trainer)
    except Exception as error:  # of any kind: the run tells its state
        mark_failed(folder, describe(error))
        raise
    if not trainer.is_global_zero:
        with contextlib.suppress(StoppedRun):  # the first rank tells; a failure here would have SLURM kill it before
            _train(cfg, trainer, resume_path)
        return
    if cfg.ckpt is None and (folder / "metrics.jsonl").exists():
        raise FileExistsError(f"{folder} holds another run: continue it with ckpt={folder}, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark_running(folder)
    try:
        _require_no_signal()
        module = _train(cfg, trainer, resume_path)
    except StoppedRun as stopped:
        mark_stopped(folder)
        _leave(stopped, folder)
    except Exception as error:  # of any kind: the run tells its state
        mark_failed(folder, describe(error))
        raise
    except BaseException:
        mark_stopped(folder)
        raise
    metrics = {} if module.scores is None else module.scores.metrics
    _report(module, folder)
    data = read_data(folder)
    known = {} if data is None else {"data": data.to_dict()}
    mark_done(folder, {"step": trainer.global_step, "epoch": trainer.current_epoch, **metrics, **known})


def _train(cfg: DictConfig, trainer: pl.Trainer, resume_path: Path | None) -> DetectionModule:
    datamodule: CocoDataModule = make(cfg.data)
    selections = {str(name): make(node) for name, node in cfg.evaluations.items()}
    module = make_module(cfg, datamodule)
    if resume_path is not None:
        _require_own_weights(cfg)
    elif cfg.weights is not None:
        start_from(module.detector, read_checkpoint(cfg.weights))
    if require_bool("compile", cfg.compile):
        module.detector.compile()
    with finishing(trainer.loggers):
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume_path, weights_only=True)
    evaluate_final_weights(selections, Path(cfg.run_dir), trainer, module, datamodule)
    return module


def _require_own_weights(cfg: DictConfig) -> None:
    """A continued run goes on from its own weights; those that it once started from may be gone."""
    before = last_config(Path(cfg.run_dir))
    if cfg.weights is not None and before is not None and cfg.weights != before.weights:
        raise ValueError(
            f"weights={cfg.weights} starts a run, but ckpt={cfg.ckpt} continues one from its own: leave out one of them"
        )


def _require_no_signal() -> None:
    """A signal that came while packages were imported is obeyed before anything is begun: the time may be short."""
    stop = preemption.received()
    if stop is not None:
        raise StoppedRun(stop, None)


def _leave(stopped: StoppedRun, folder: Path) -> NoReturn:
    """End the process as the signal asks; after a preemption the job goes back into the queue."""
    print(f"\ndeta: {stopped}; deta train ckpt={folder} continues it", file=sys.stderr)
    job = this_job()
    if job is not None and stopped.signal in preemption.PREEMPTIONS:
        mark_queued(folder, job.id)
        preemption.requeue(job)
    sys.exit(128 + stopped.signal)


def make_trainer(cfg: DictConfig, *further: pl.Callback) -> pl.Trainer:
    """The trainer with its callbacks, ``further`` among them, and loggers; a null entry of either group is left out."""
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
    callbacks = [*further, *(make(node) for node in nodes.values())]
    loggers = [make(node) for node in cfg.logger.values() if node is not None]
    environment = choose_environment(devices=plain(cfg.trainer).get("devices"), num_nodes=cfg.trainer.num_nodes)
    trainer: pl.Trainer = make(
        cfg.trainer,
        callbacks=callbacks,
        logger=[logger for logger in loggers if logger is not None],
        plugins=[AtomicCheckpointIO(), environment],
    )
    require_one_rank_per_process(trainer, environment)
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


def _report(module: DetectionModule, folder: Path) -> None:
    figures = write_run_figures(folder)
    if module.scores is not None:
        print(f"\n{module.scores.table}\n")
    print(f"Run directory: {folder.resolve()}")
    for name in ("config.yaml", "metrics.csv", "classes.csv", "checkpoints", "pictures"):
        if (folder / name).exists():
            print(f"  {folder / name}")
    for path in figures:
        print(f"  {path}")
