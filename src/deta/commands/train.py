"""``deta train``: train a detector and evaluate it after every epoch."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from deta.analysis.run_charts import write_run_figures
from deta.building.batch_size import settle_batch_size
from deta.building.build import Recipe, make, make_module, make_part, make_recipe, plain
from deta.building.evaluations import evaluate_final_weights, make_selections
from deta.building.start import start_from
from deta.building.trainer_options import check_trainer_options
from deta.console.catalogue import CHILD_COMMAND
from deta.console.datasets import compare_data
from deta.console.terminal import describe, reports_errors
from deta.data.datamodule import CocoDataModule
from deta.evaluation.class_charts import class_figures
from deta.launching.parts import last_config, num_parts
from deta.launching.record import PartRecord
from deta.runs import preemption
from deta.runs.claims import claim, is_held, release, require_held
from deta.runs.data_record import DATA, DataRecord, read_data
from deta.runs.preemption import StoppedRun
from deta.runs.progress import read_progress
from deta.runs.state import failure, has_checkpoint, mark_done, mark_failed, mark_running, mark_stopped
from deta.studies.settings import differences, leaves, told
from deta.tracking.mirror import finishing
from deta.training.checkpoint import (
    KEPT,
    AtomicCheckpointIO,
    find_resumable,
    keep_weights,
    read_checkpoint,
    read_stored_data,
)
from deta.training.continuation import REMEDY, UnfitModelError, num_whole_epochs
from deta.training.module import DetectionModule
from deta.training.processes import (
    SECONDS_OF_PATIENCE,
    choose_environment,
    limit_waits,
    require_one_rank_per_process,
    share_cpus,
    starts_own_ranks,
    tell_threads,
)
from deta.training.ranks import ElsewhereError, mark_rank_failed, root_cause
from deta.training.regions import require_compile
from deta.utils.checks import require_choice, require_int, require_number
from deta.utils.cpus import cpu_times
from deta.utils.wording import counted

_log = logging.getLogger(__name__)

_MISTAKES = (HydraException, OmegaConfBaseException)


@reports_errors
def run(cfg: DictConfig) -> None:
    """Train as configured; the run directory holds configuration, metrics, checkpoints and pictures.

    It also tells the state of the run, see ``deta.runs.state``.
    """
    folder = Path(cfg.run_dir)
    keep = require_choice("keep", cfg.keep, KEPT)
    pl.seed_everything(require_int("seed", cfg.seed, low=0, high=2**32 - 1), workers=True, verbose=False)
    try:
        resume_path = None if cfg.ckpt is None else find_resumable(cfg.ckpt)
        if resume_path is not None:
            compare_data(cfg, _known_data(folder, resume_path))
        trainer = make_trainer(cfg, PartRecord(cfg, folder, is_continued=resume_path is not None))
        _require_processes(trainer)
        recipe = make_recipe(cfg)
    except Exception as error:  # of any kind: the run tells its state
        _note_failure(folder, error, mistakes=(ValueError, *_MISTAKES))
        raise
    if not trainer.is_global_zero:
        _train_beside(cfg, trainer, resume_path, recipe)
        return
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder)
    if cfg.ckpt is None and (folder / "metrics.jsonl").exists():
        release(folder)
        what = (
            f"a run already: continue it with ckpt={folder}"
            if has_checkpoint(folder)
            else "a run that has saved nothing yet: start it again by ckpt=auto in the same command"
        )
        raise FileExistsError(f"{folder} holds {what}, or name another folder")
    try:
        mark_running(folder)
        _require_no_signal()
        module = _train(cfg, trainer, resume_path, recipe)
    except StoppedRun as stopped:
        _leave(stopped, folder)
    except Exception as error:  # of any kind: the run tells its state
        cause = root_cause(error, folder)
        _note_failure(folder, cause, mistakes=_MISTAKES)
        raise cause from error.__cause__
    except BaseException:
        mark_stopped(folder)
        raise
    epoch = read_progress(folder / "metrics.jsonl").metric_epoch
    scores = {} if module.scores is None else {"scores_epoch": epoch, **module.scores.metrics}
    _report(module, folder, trainer, epoch)
    require_held(folder)
    data = read_data(folder)
    known = {} if data is None else {"data": data.to_dict()}
    mark_done(folder, {"step": trainer.global_step, "epoch": num_whole_epochs(trainer), **scores, **known})
    if keep == "weights":
        keep_weights(folder)
    preemption.leave((signal.SIGTERM,))


def _note_failure(folder: Path, error: Exception, *, mistakes: tuple[type[Exception], ...]) -> None:
    """Errors of these kinds come from the command itself, unless a file or device was not there.

    A run that has begun stays as it is for them: it goes on with the words that it has on record. And where this
    process holds no run yet, the reason for which an earlier one failed stays.
    """
    cause: BaseException = error
    while isinstance(cause, HydraException) and cause.__cause__ is not None:
        cause = cause.__cause__
    is_refused = isinstance(error, mistakes) and not isinstance(cause, OSError)
    has_reason = not is_held(folder) and failure(folder) is not None
    if (has_reason and not is_refused) or (is_refused and num_parts(folder)):
        mark_stopped(folder)
    else:
        mark_failed(folder, describe(error), is_refused=is_refused)


def _train_beside(cfg: DictConfig, trainer: pl.Trainer, resume_path: Path | None, recipe: Recipe) -> None:
    """Train as another rank than the first, which tells the state of the run; the reason of a failure is told here."""
    folder = Path(cfg.run_dir)
    try:
        _train(cfg, trainer, resume_path, recipe)
    except StoppedRun:
        pass  # the first rank tells; a failure here would have SLURM kill it before
    except Exception as error:  # of any kind: the first rank knows only that this one is gone
        cause = root_cause(error, folder)
        if not isinstance(cause, ElsewhereError):
            mark_rank_failed(folder, trainer.global_rank, describe(error))
        raise cause from error.__cause__


def _train(cfg: DictConfig, trainer: pl.Trainer, resume_path: Path | None, recipe: Recipe) -> DetectionModule:
    start = cpu_times()
    compiled = require_compile(cfg.compile)
    if compiled:
        _prepare_compilation(trainer)
    selections = make_selections(cfg)
    settle_batch_size(cfg, trainer, resume_path)
    datamodule: CocoDataModule = make_part(cfg, "data", CocoDataModule)
    module = make_module(cfg, datamodule, recipe)
    if trainer.is_global_zero:
        tell_threads(start)
    if resume_path is not None:
        _require_own_weights(cfg)
    elif cfg.weights is not None:
        start_from(cfg, module.detector, module.class_names)
    if compiled:
        has_gpu = trainer.strategy.root_device.type == "cuda"
        module.compile_step(
            compiled, with_criterion=has_gpu, has_graphs=has_gpu and trainer.accumulate_grad_batches == 1
        )
    with finishing(trainer.loggers):
        try:
            trainer.fit(module, datamodule=datamodule, ckpt_path=resume_path, weights_only=True)
            # All is saved: what is left, as charts, takes seconds and is not cut off.
            preemption.listen((signal.SIGTERM,))
        except UnfitModelError as error:
            assert resume_path is not None
            raise _naming_keys(error, cfg, resume_path) from error
    evaluate_final_weights(selections, Path(cfg.run_dir), trainer, module, datamodule)
    return module


def _known_data(folder: Path, resume_path: Path) -> dict[Path, DataRecord | None]:
    """The data that a continued training must have: of its directory, of that of its checkpoint, or else of this."""
    places = dict.fromkeys((folder, resume_path.resolve().parent.parent))
    known = {place: read_data(place) for place in places if (place / DATA).is_file()}
    return known or {resume_path: read_stored_data(resume_path)}


def _naming_keys(error: UnfitModelError, cfg: DictConfig, checkpoint: Path) -> UnfitModelError:
    """The error that names the settings of the model which are others than in the checkpoint, if any are."""
    changes = differences({"model": read_checkpoint(checkpoint).config.get("model", {})}, {"model": plain(cfg.model)})
    written = dict(leaves({"model": OmegaConf.to_container(cfg.model, resolve=False)}))
    own = {key: pair for key, pair in changes.items() if "${" not in str(written.get(key))}  # others follow from them
    return UnfitModelError(f"{told(own or changes)}. {REMEDY}") if changes else error


def _require_own_weights(cfg: DictConfig) -> None:
    """A continued run goes on from its own weights; those that it once started from may be gone."""
    before = last_config(Path(cfg.run_dir))
    if cfg.weights is not None and (before is None or cfg.weights != before.weights):
        raise ValueError(
            f"weights={cfg.weights} starts a run, but ckpt={cfg.ckpt} continues one from its own: leave out one of them"
        )


def _prepare_compilation(trainer: pl.Trainer) -> None:
    # It imports the compiler: seconds that few runs need.
    from deta.training.compilation import keep_compiled_code, require_compilers

    require_compilers(trainer.strategy.root_device.type)
    keep_compiled_code()


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


def make_trainer(cfg: DictConfig, *further: pl.Callback) -> pl.Trainer:
    """The trainer with its callbacks, ``further`` among them, and loggers; a null entry of either group is left out."""
    check_trainer_options(plain(cfg.trainer))
    _warn_of_epochs_without_validation(cfg.trainer.max_epochs, cfg.trainer.check_val_every_n_epoch)
    callbacks = [*further, *make_callbacks(cfg)]
    loggers = [make(node) for node in cfg.logger.values() if node is not None]
    environment = choose_environment(devices=plain(cfg.trainer).get("devices"), num_nodes=cfg.trainer.num_nodes)
    arguments = cfg.trainer.copy()
    with open_dict(arguments):
        patience = arguments.pop("seconds_of_patience", SECONDS_OF_PATIENCE)
        arguments.enable_model_summary = False  # ours stands in its place
    trainer: pl.Trainer = make(
        arguments,
        callbacks=callbacks,
        logger=[logger for logger in loggers if logger is not None],
        plugins=[AtomicCheckpointIO(), environment],
    )
    if not isinstance(trainer, pl.Trainer):
        raise ValueError(f"trainer must make a Trainer; {cfg.trainer.get('_target_')} gives {type(trainer).__name__}")
    require_one_rank_per_process(trainer, environment)
    limit_waits(trainer, seconds=require_number("trainer.seconds_of_patience", patience, low=1))
    share_cpus(trainer)
    return trainer


def make_callbacks(cfg: DictConfig) -> list[pl.Callback]:
    """Those of the configuration; a null entry is left out.

    Raises:
        ValueError: One is no callback, or would hide the best checkpoint from other commands.
    """
    nodes = {name: node for name, node in cfg.callbacks.items() if node is not None}
    if "best" in nodes and nodes["best"].get("filename") != "best":
        raise ValueError("callbacks.best.filename must be best: eval, predict and weights= look for best.ckpt in a run")
    if "progress" in nodes:
        require_int("callbacks.progress.refresh_rate", nodes["progress"].get("refresh_rate", 1), low=0)
    if not cfg.trainer.enable_progress_bar:
        nodes.pop("progress", None)
    if not cfg.trainer.get("enable_model_summary", True):
        nodes.pop("model_table", None)
    return [make_part(cfg, f"callbacks.{name}", pl.Callback) for name in nodes]


def _require_processes(trainer: pl.Trainer) -> None:
    """A run of a sweep, or of a program, cannot start further ranks: they would start the sweep or program again."""
    if HydraConfig.get().mode == RunMode.MULTIRUN and starts_own_ranks(trainer):
        raise ValueError(
            f"a sweep in one process trains on one device, but this run has {trainer.world_size} ranks: use "
            "cluster=sbatch, let deta runs resume do the runs one by one, or set trainer.devices=1"
        )
    if CHILD_COMMAND not in os.environ and starts_own_ranks(trainer):
        raise ValueError(
            f"deta.train trains on one device, but this run has {trainer.world_size} ranks: start it by the command "
            "deta train, or set trainer.devices=1"
        )


def _warn_of_epochs_without_validation(max_epochs: int, interval: int) -> None:
    rest = max_epochs % interval if max_epochs > 0 else 0
    if rest:
        _log.warning(
            "The last %d of %s not evaluated: trainer.check_val_every_n_epoch=%d; 1 evaluates every epoch",
            rest,
            counted(max_epochs, "epoch is", "epochs are"),
            interval,
        )


def _report(module: DetectionModule, folder: Path, trainer: pl.Trainer, epoch: int | None) -> None:
    """Print the scores and after which epoch they were, or why there are none, and where what lies."""
    figures = [*write_run_figures(folder), *class_figures(folder)]
    if module.scores is None:
        print(f"\nNo scores: {_why_not_evaluated(trainer)}\n")
    else:
        print(f"\nScores after epoch {epoch or 'unknown'} of {trainer.current_epoch}:\n{module.scores.table}\n")
    print(f"Run directory: {folder.resolve()}")
    for name in (
        "config.yaml",
        "metrics.csv",
        "classes.csv",
        "class_scores.csv",
        "confusion.csv",
        "checkpoints",
        "pictures",
    ):
        if (folder / name).exists():
            print(f"  {folder / name}")
    for path in figures:
        print(f"  {path}")


def _why_not_evaluated(trainer: pl.Trainer) -> str:
    interval, epochs = trainer.check_val_every_n_epoch, trainer.current_epoch
    ended = f"the run ended after {counted(epochs, 'epoch')}"
    if interval is not None and epochs < interval:
        return f"not evaluated, since trainer.check_val_every_n_epoch={interval} and {ended}"
    return f"{ended} without a validation (trainer.limit_val_batches={trainer.limit_val_batches})"
