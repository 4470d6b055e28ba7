"""From ``deta train`` to trainings: what is done is skipped, what is half done goes on, what fails stops no other.

Nothing here imports PyTorch: a finished run of a sweep costs no more than its configuration.
"""

import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deta.commands import slurm
from deta.commands.word_trust import remember_words
from deta.commands.words import AUTO, complete_words, given_words, job_words, search_path_words
from deta.engine import preemption
from deta.engine.cluster import is_first_rank
from deta.engine.runs import (
    RunState,
    add_cells,
    find_runs,
    has_checkpoint,
    is_claimed_beside,
    mark_failed,
    read_status,
    read_statuses,
    table,
)


class TrainLauncher:
    """What one command line of ``deta train`` does; ``run`` is called for every run, ``finish`` at the end.

    A launcher of Hydra may call ``run`` in another process, on a copy of this object.
    """

    def __init__(self) -> None:
        self._waiting: dict[Path, list[str]] = {}
        self._cluster: Mapping[str, Any] = {}
        self._has_failed = False

    def run(self, cfg: DictConfig) -> None:
        """Train, submit or skip one run."""
        preemption.listen()
        hydra_cfg = HydraConfig.get()
        folder = Path(hydra_cfg.runtime.output_dir)
        is_sweep = hydra_cfg.mode == RunMode.MULTIRUN
        if not is_sweep and hydra_cfg.runtime.choices.get("cluster") == "submitit":
            print("deta: cluster=submitit submits sweeps alone: add -m, or take cluster=sbatch", file=sys.stderr)
            sys.exit(1)
        if is_sweep and cfg.ckpt is None:
            cfg.ckpt = AUTO
        if cfg.ckpt == AUTO and not _prepare(cfg, folder):
            return
        if cfg.cluster.submit == "sbatch":
            self._cluster = _resolved(cfg.cluster)
            self._waiting[folder] = job_words(complete_words(hydra_cfg), folder)
        elif is_sweep:
            self._train_among_others(cfg, folder)
        else:
            _train(cfg)

    def finish(self) -> None:
        """Submit what waits; after a sweep print the table of its folder and exit with 1 if a run failed."""
        if self._waiting:
            folder = _sweep_folder() or next(iter(self._waiting))
            limit = self._cluster["max_parallel"]
            try:
                job = slurm.submit(self._waiting, self._cluster["options"], folder, max_parallel=limit)
            except (OSError, ValueError) as error:
                print(f"deta: {error}", file=sys.stderr)
                sys.exit(1)
            print(f"Submitted job {job}: {len(self._waiting)} runs; deta runs folder={folder} shows them")
        if self.show_sweep() or self._has_failed:
            sys.exit(1)

    def show_sweep(self) -> bool:
        """After a sweep print the table of its folder; returns whether a run in it has failed."""
        folder = _sweep_folder()
        if folder is None:
            return False
        statuses = read_statuses(find_runs(folder))
        print(f"\n{table(statuses, folder)}")
        return any(status.state == RunState.FAILED for status in statuses)

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
        """Compose each, for its name, and add it to the list in the folder of the sweep."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        params = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
        search_path = search_path_words(config.hydra)
        words = [*params, *given_words(config.hydra.overrides.task)]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
        cells: dict[str, list[str]] = {}
        for batch in BasicSweeper.split_arguments(overrides, None):
            for chosen in batch:
                composed = loader.load_sweep_config(config, list(chosen))
                HydraConfig.instance().set_config(composed)
                name = str(composed.hydra.sweep.subdir)
                cells[name] = [*search_path, *chosen]
                remember_words(Path(config.hydra.sweep.dir, name), cells[name])
        HydraConfig.instance().set_config(config)  # for _sweep_folder
        add_cells(Path(config.hydra.sweep.dir), cells)


def _sweep_folder() -> Path | None:
    """The folder of the sweep that this process has started; None if it has started none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir)


def _prepare(cfg: DictConfig, folder: Path) -> bool:
    """Turn ``auto`` into the run to continue or into none; False if there is nothing to do.

    The ranks of one training decide alike: that the first of them has claimed the run holds up none.
    """
    status = read_status(folder)
    is_first = is_first_rank(devices=cfg.trainer.devices, num_nodes=cfg.trainer.num_nodes)
    is_taken = status.state in (RunState.DONE, RunState.RUNNING, RunState.QUEUED)
    if is_taken and not (status.state == RunState.RUNNING and not is_first and is_claimed_beside(folder)):
        print(f"{folder}: {status.state}, skipped {status.message}".rstrip())
        return False
    cfg.ckpt = str(folder) if has_checkpoint(folder) else None
    if is_first and cfg.ckpt is None:
        (folder / "metrics.jsonl").unlink(missing_ok=True)  # it died before the first checkpoint
    return True


def _train(cfg: DictConfig) -> None:
    import_module("deta.commands.train").run(cfg)  # late: it imports PyTorch


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}
