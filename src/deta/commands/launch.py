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
from deta.engine import preemption
from deta.engine.runs import RunState, add_cells, find_runs, mark_failed, read_status, table

AUTO = "auto"
"""Value of ``ckpt``: continue the run in this directory if there is one, and leave it alone if it is done."""


class TrainLauncher:
    """What one command line of ``deta train`` does; ``run`` is called for every run, ``finish`` at the end."""

    def __init__(self) -> None:
        self._sweep: Path | None = None
        self._waiting: dict[Path, list[str]] = {}
        self._cluster: Mapping[str, Any] = {}
        self._has_failed = False

    def run(self, cfg: DictConfig) -> None:
        """Train, submit or skip one run."""
        hydra_cfg = HydraConfig.get()
        folder = Path(hydra_cfg.runtime.output_dir)
        is_sweep = hydra_cfg.mode == RunMode.MULTIRUN
        if is_sweep:
            self._sweep = Path(hydra_cfg.sweep.dir)
        if is_sweep and cfg.ckpt is None:
            cfg.ckpt = AUTO
        if cfg.ckpt == AUTO and not _prepare(cfg, folder):
            return
        if cfg.cluster.submit == "sbatch":
            self._cluster = _resolved(cfg.cluster)
            self._waiting[folder] = job_words([str(word) for word in hydra_cfg.overrides.task], folder)
        elif is_sweep:
            self._train_among_others(cfg, folder)
        else:
            _train(cfg)

    def finish(self) -> None:
        """Submit what waits; after a sweep print the table of its folder and exit with 1 if a run failed."""
        if self._waiting:
            folder = self._sweep or next(iter(self._waiting))
            limit = self._cluster["max_parallel"]
            try:
                job = slurm.submit(self._waiting, self._cluster["options"], folder, max_parallel=limit)
            except (OSError, ValueError) as error:
                print(f"deta: {error}", file=sys.stderr)
                sys.exit(1)
            print(f"Submitted job {job}: {len(self._waiting)} runs; deta runs folder={folder} shows them")
        if self._sweep is not None:
            statuses = [read_status(path) for path in find_runs(self._sweep)]
            print(f"\n{table(statuses, self._sweep)}")
            if self._has_failed or any(status.state == RunState.FAILED for status in statuses):
                sys.exit(1)

    def _train_among_others(self, cfg: DictConfig, folder: Path) -> None:
        """One failed run does not stop the others; a signal stops them all."""
        try:
            _train(cfg)
        except SystemExit as end:
            if preemption.received() is not None:
                raise
            self._has_failed |= end.code not in (None, 0)
        except Exception as error:
            traceback.print_exc()
            mark_failed(folder, f"{type(error).__name__}: {error}")
            self._has_failed = True


def job_words(words: list[str], folder: Path) -> list[str]:
    """Words of the ``deta train`` that does one run of this command in another process."""
    own = ("cluster", "ckpt", "hydra.", "+hydra.", "++hydra.", "sweep")
    kept = [word for word in words if not word.startswith(own)]
    return [*kept, f"ckpt={AUTO}", f"hydra.run.dir='{folder.resolve()}'"]


class RecordCells(Callback):
    """Writes down every run of a sweep before the first of them starts, so that none is forgotten."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Compose each, for its name, and add it to the list in the folder of the sweep."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        params = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
        words = [*params, *(str(word) for word in config.hydra.overrides.task)]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
        cells: dict[str, list[str]] = {}
        earlier = HydraConfig.instance().cfg
        for batch in BasicSweeper.split_arguments(overrides, None):
            for chosen in batch:
                composed = loader.load_sweep_config(config, list(chosen))
                HydraConfig.instance().set_config(composed)
                cells[str(composed.hydra.sweep.subdir)] = chosen
        HydraConfig.instance().cfg = earlier
        add_cells(Path(config.hydra.sweep.dir), cells)


def _prepare(cfg: DictConfig, folder: Path) -> bool:
    """Turn ``auto`` into the run to continue or into none; False if there is nothing to do."""
    status = read_status(folder)
    if status.state in (RunState.DONE, RunState.RUNNING):
        print(f"{folder}: {status.state}, skipped {status.message}".rstrip())
        return False
    has_checkpoint = any((folder / "checkpoints").glob("*.ckpt"))
    cfg.ckpt = str(folder) if has_checkpoint else None
    if not has_checkpoint:
        (folder / "metrics.jsonl").unlink(missing_ok=True)  # it died before the first checkpoint
    return True


def _train(cfg: DictConfig) -> None:
    import_module("deta.commands.train").run(cfg)  # late: it imports PyTorch


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}
