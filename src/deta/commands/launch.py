"""From ``deta train`` to trainings: what is done is skipped, what is half done goes on, what fails stops no other.

Nothing here imports PyTorch: a finished run of a sweep costs no more than its configuration.
"""

import logging
import shlex
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from deta.building.word_trust import remember_words
from deta.console.quoting import shell_line
from deta.console.terminal import describe, say_loading, user_errors
from deta.console.words import AUTO, complete_words, given_words, job_words, record_words, search_path_words, with_start
from deta.launching import slurm
from deta.launching.finished import (
    another_start,
    continues,
    first_start,
    nothing_left,
    require_same_settings,
    require_something_left,
)
from deta.launching.parts import num_parts
from deta.runs import preemption
from deta.runs.cells import add_cells, read_cells
from deta.runs.claims import Place, RunTakenError, claim, other_holder, release
from deta.runs.cluster import is_first_rank
from deta.runs.config import started_from
from deta.runs.folders import find_runs, require_no_other_results
from deta.runs.state import TAKEN, RunState, RunStatus, has_checkpoint, is_done, mark_failed, read_status, read_statuses
from deta.runs.table import table, terminal_width
from deta.utils.checks import require_bool
from deta.utils.names import shown_lines
from deta.utils.terminal import show
from deta.utils.wording import counted

_SWEEP_CONFIG = "multirun.yaml"
"""Hydra's record of a sweep, in its folder."""


class TrainLauncher:
    """What one command line of ``deta train`` does; ``run`` is called for every run, ``finish`` at the end.

    A launcher of Hydra may call ``run`` in another process, on a copy of this object.
    """

    def __init__(self) -> None:
        self._waiting: dict[Path, list[str]] = {}
        self._cluster: Mapping[str, Any] = {}
        self._has_failed = False
        self._is_explicit = False
        self._is_dry = False
        self._told: set[str] = set()

    def run(self, cfg: DictConfig) -> None:
        """Train, submit or skip one run."""
        preemption.listen()
        hydra_cfg = HydraConfig.get()
        folder = Path(hydra_cfg.runtime.output_dir)
        is_sweep = hydra_cfg.mode == RunMode.MULTIRUN
        if not is_sweep and hydra_cfg.runtime.choices.get("cluster") == "submitit":
            print("deta: cluster=submitit submits sweeps alone: add -m, or take cluster=sbatch", file=sys.stderr)
            sys.exit(1)
        try:
            start = another_start(cfg.ckpt, folder)
            if start is not None:
                require_something_left(cfg, start)
            if start is not None or (is_sweep and cfg.ckpt is None):
                cfg.ckpt = AUTO
            self._is_dry = require_bool("dry_run", cfg.dry_run)
            if self._is_dry:
                _remove_empty(folder)
            require_no_other_results(folder)
            if cfg.cluster.submit not in (None, "sbatch"):
                raise ValueError(f"cluster.submit must be null or sbatch (cluster=sbatch), got {cfg.cluster.submit!r}")
            if not is_sweep and _is_told_finished(cfg, folder):
                return
            if cfg.cluster.submit == "sbatch" or self._is_dry:
                self._tell_missing_data(cfg)
                self._wait_for_submission(cfg, folder, start)
                return
            if cfg.ckpt == AUTO and not _prepare(cfg, folder, start):
                return
            _require_data(cfg, folder)
            _record_begin(cfg, folder)
        except user_errors() as error:
            self._refuse(error, is_sweep=is_sweep)
            return
        try:
            self._train_among_others(cfg, folder) if is_sweep else _train(cfg)
        finally:
            release(folder)

    def _tell_missing_data(self, cfg: DictConfig) -> None:
        """What is submitted may find its data elsewhere: say once that they are not here."""
        try:
            import_module("deta.console.datasets").require_data(cfg)
        except FileNotFoundError as error:
            if str(error) not in self._told:
                print(f"deta: on this machine {error}", file=sys.stderr)
            self._told.add(str(error))

    def finish(self) -> None:
        """Submit what waits, or say with which words.

        After a sweep print the table of its folder and exit with 1 if a run failed.
        """
        if self._is_dry:
            self._tell_what_waits()
            if self._has_failed:
                sys.exit(1)
            return
        if self._waiting:
            folder = _sweep_folder() or next(iter(self._waiting))
            limit = self._cluster["max_parallel"]
            try:
                job = slurm.submit(self._waiting, self._cluster["options"], folder, max_parallel=limit)
            except (OSError, ValueError) as error:
                print(f"deta: {error}", file=sys.stderr)
                sys.exit(1)
            if job is None and self._is_explicit:
                sys.exit(1)
        if self.show_sweep() or self._has_failed:
            sys.exit(1)

    def _tell_what_waits(self) -> None:
        """Print the options of ``sbatch``, if it is to be asked, and the commands; an empty folder of a sweep goes."""
        statuses = read_statuses(self._waiting)
        for status in statuses:
            if status.state in TAKEN:
                slurm.tell_skipped(status)
        commands = {run.folder: self._waiting[run.folder] for run in statuses if run.state not in TAKEN}
        if commands and self._cluster["submit"] == "sbatch":
            folder, limit = _sweep_folder() or next(iter(commands)), self._cluster["max_parallel"]
            try:
                options = slurm.sbatch_options(self._cluster["options"], len(commands), folder, max_parallel=limit)
                slurm.require_time_before_warning(self._cluster["options"])
            except ValueError as error:
                print(f"deta: {error}", file=sys.stderr)
                sys.exit(1)
            print("sbatch", shlex.join(options))
        for words in commands.values():
            print("deta train", shell_line(words))
        sweep = _sweep_folder()
        if sweep is not None and [path.name for path in sweep.glob("*")] == [_SWEEP_CONFIG]:
            (sweep / _SWEEP_CONFIG).unlink()
            sweep.rmdir()

    def show_sweep(self) -> bool:
        """After a sweep print the table of its cells; returns whether one is neither done nor under way."""
        folder = _sweep_folder()
        if folder is None or not folder.is_dir():
            return False
        cells = {folder / str(name) for name in HydraConfig.get().callbacks["cells"].get("names", [])}
        statuses = read_statuses(sorted(cells))
        show(f"\n{table(statuses, folder, width=terminal_width())}")
        others = len(set(find_runs(folder)) - cells)
        if others:
            print(f"(beside {counted(others, 'other run')}: deta runs folder={folder})")
        return any(status.state not in TAKEN for status in statuses)

    def _wait_for_submission(self, cfg: DictConfig, folder: Path, start: str | None) -> None:
        self._is_explicit = cfg.ckpt != AUTO  # auto leaves alone what is done or under way
        if self._is_explicit and not self._is_dry and continues(cfg.ckpt, folder) and is_done(folder):
            raise ValueError(
                f"{folder} is done, and jobs leave done runs alone: train it further without cluster=sbatch"
            )
        status = read_status(folder)
        if not self._is_explicit:
            _require_same(cfg, status)
        if self._is_explicit or status.state not in TAKEN:
            say_loading()
            import_module("deta.commands.rehearsal").rehearse(cfg)  # late: it imports PyTorch
        self._cluster = _resolved(cfg.cluster)
        self._waiting[folder] = job_words(complete_words(HydraConfig.get()), folder, start)

    def _refuse(self, error: Exception, *, is_sweep: bool) -> None:
        """Say why a run does not start; the other runs of a sweep do."""
        print(f"deta: {shown_lines(describe(error))}", file=sys.stderr)
        self._has_failed = True
        if not is_sweep:
            sys.exit(1)

    def _train_among_others(self, cfg: DictConfig, folder: Path) -> None:
        """One failed run does not stop the others; a signal stops them all."""
        try:
            _train(cfg)
        except SystemExit as end:
            if preemption.received() is not None:
                raise
            self._has_failed |= end.code not in (None, 0)
        except Exception as error:  # of any kind: the other runs go on
            traceback.print_exc()
            mark_failed(folder, f"{type(error).__name__}: {error}")
            self._has_failed = True


class RecordCells(Callback):
    """Writes down every run of a sweep before the first of them starts, so that none is forgotten."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Let every run know what is swept, compose each, for its name, and list it in the folder of the sweep."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        params = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
        search_path = search_path_words(config.hydra)
        words = [*params, *given_words(config.hydra.overrides.task)]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
        is_named = OmegaConf.to_yaml(config.hydra.sweep).endswith("subdir: ${run_name:}\n")  # and not by the user
        if is_named:
            swept = [override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override()]
            name = ",".join(f'"{key}"' for key in dict.fromkeys(swept))
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir='${{run_name:{name}}}'")
        cells: dict[str, list[str]] = {}
        for batch in BasicSweeper.split_arguments(overrides, None):
            for chosen in batch:
                composed = loader.load_sweep_config(config, list(chosen))
                with read_write(composed), open_dict(composed):
                    composed.hydra.job.num, composed.hydra.job.id = len(cells), f"job_{len(cells)}"
                HydraConfig.instance().set_config(composed)
                name = str(composed.hydra.sweep.subdir)
                run = Path(config.hydra.sweep.dir, name)
                cells[name] = with_start([*search_path, *chosen], started_from(composed.ckpt, run))
                if not config.dry_run:
                    remember_words(run, cells[name])
        with read_write(config), open_dict(config):
            config.hydra.callbacks.cells.names = list(cells)
        HydraConfig.instance().set_config(config)  # Hydra gives TrainLauncher.finish no other word of this sweep
        if config.dry_run and config.hydra.runtime.choices.get("cluster") == "submitit":
            print("deta: dry_run=true cannot hold back cluster=submitit: take cluster=sbatch or none", file=sys.stderr)
            sys.exit(1)
        if config.cluster.submit == "sbatch" or config.dry_run:
            logging.getLogger(BasicLauncher.__module__).addFilter(_is_no_launch)
        if not config.dry_run:
            folder = Path(config.hydra.sweep.dir)
            # In a place of the user's own name another run may lie, which is refused, and keeps its words.
            known = set() if is_named else {name for name in read_cells(folder) if num_parts(folder / name)}
            add_cells(folder, {name: words for name, words in cells.items() if name not in known})


def _is_no_launch(record: logging.LogRecord) -> bool:
    """Hydra's launcher says that it launches jobs here, which are only collected for SLURM."""
    return not record.getMessage().lstrip().startswith("Launching ")


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds a run, or was never made
        folder.rmdir()


def _sweep_folder() -> Path | None:
    """The folder of the sweep that this process has started; None if it has started none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir)


def _prepare(cfg: DictConfig, folder: Path, start: str | None = None) -> bool:
    """Claim the run and turn ``auto`` into the run to continue, or into its start; False if there is nothing to do.

    What lies there is judged, and changed, only by who holds the claim. Whether another process holds it is for
    ``claim`` to find out, which may have to watch it. The ranks of one training decide alike: that the first of them
    has claimed the run holds up none.

    Raises:
        OSError: A run is done and its annotation files are missing.
        ValueError: A run is done with other data or settings.
    """
    status = read_status(folder)
    if status.state in (RunState.DONE, RunState.QUEUED):
        _require_same(cfg, status)
        slurm.tell_skipped(status)
        return False
    is_first = is_first_rank(devices=cfg.trainer.devices, num_nodes=cfg.trainer.num_nodes)
    if not is_first and (holder := other_holder(folder)) is not None:
        _tell_holder(folder, holder)
        return False
    if is_first and not _claim(folder):
        return False
    has_saved = has_checkpoint(folder)
    cfg.ckpt = str(folder) if has_saved else start or first_start(folder)
    if is_first and not has_saved:
        (folder / "metrics.jsonl").unlink(missing_ok=True)  # it died before the first checkpoint
    return True


def _record_begin(cfg: DictConfig, folder: Path) -> None:
    """Write down the words of a run that has not trained yet, so that one that dies in its first seconds is done."""
    if num_parts(folder) or not is_first_rank(devices=cfg.trainer.devices, num_nodes=cfg.trainer.num_nodes):
        return
    words = with_start(complete_words(HydraConfig.get()), started_from(cfg.ckpt, folder))
    folder.mkdir(parents=True, exist_ok=True)
    record_words(folder, words)
    remember_words(folder, words)


def _is_told_finished(cfg: DictConfig, folder: Path) -> bool:
    """Say of a run that is to be continued by name if it is done and nothing of it is left to do."""
    message = nothing_left(cfg, folder)
    if message is None:
        return False
    _require_same_data(cfg, RunStatus(folder, RunState.DONE))
    print(message)
    return True


def _require_data(cfg: DictConfig, folder: Path) -> None:
    """Fail before packages are imported for seconds where there are no annotations."""
    try:
        import_module("deta.console.datasets").require_data(cfg)
    except FileNotFoundError as error:
        mark_failed(folder, str(error))
        raise


def _require_same_data(cfg: DictConfig, status: RunStatus) -> None:
    """Refuse to take a run for done that was trained on other data."""
    if status.state == RunState.DONE:
        import_module("deta.console.datasets").require_same_data(cfg, [status.folder])  # late: it imports NumPy


def _require_same(cfg: DictConfig, status: RunStatus) -> None:
    """Refuse to take a run for done that was trained on other data, or with other settings."""
    _require_same_data(cfg, status)
    if status.state == RunState.DONE:
        require_same_settings(cfg, status.folder, HydraConfig.get())


def _claim(folder: Path) -> bool:
    """Hold the run; False where another process holds it, has just finished or just submitted it."""
    try:
        claim(folder)
    except RunTakenError as error:
        _tell_holder(folder, error.holder)
        return False
    (status,) = read_statuses([folder], is_own_told=False)
    if status.state in TAKEN:
        release(folder)
        slurm.tell_skipped(status)
        return False
    return True


def _tell_holder(folder: Path, holder: Place) -> None:
    slurm.tell_skipped(RunStatus(folder, RunState.RUNNING, message=str(holder)))


def _train(cfg: DictConfig) -> None:
    say_loading()
    import_module("deta.commands.train").run(cfg)  # late: it imports PyTorch


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}
