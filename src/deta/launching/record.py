"""What a part of a run leaves in writing: with what words, settings and machine it trained."""

import logging
from pathlib import Path

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from deta.building.build import plain
from deta.building.stored import needs_trust
from deta.building.trust import remember
from deta.building.word_trust import remember_words
from deta.console.datasets import configured_data
from deta.console.words import complete_words, record_words
from deta.launching.parts import changed_settings, last_config, num_parts
from deta.runs.data_record import DataRecord, write_data
from deta.runs.state import mark_unfinished
from deta.studies.settings import told
from deta.tracking.environment import describe_run
from deta.training.module import DetectionModule
from deta.utils.files import write_json, write_text

_log = logging.getLogger(__name__)


class PartRecord(pl.Callback):
    """Writes ``words.json``, ``data.json``, ``config.yaml`` and ``environment.json``; later ``config-1.yaml`` etc.

    The first part of a run is on record from its start. A later one is once it has made a step, or has ended the run
    without one under other settings: of a start that fails nothing stays, and the run is continued as before.

    Args:
        cfg: The configuration of this part.
        folder: The run directory.
        is_continued: Whether the run has trained before.
    """

    def __init__(self, cfg: DictConfig, folder: Path, *, is_continued: bool) -> None:
        self._cfg = cfg
        self._folder = folder
        self._is_continued = is_continued
        self._environment = describe_run(seed=cfg.seed)
        self._data: DataRecord | None = None
        self._first_step: int | None = None
        self._is_written = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write of a first part; say in which settings a later one differs from the part before."""
        self._data = configured_data(self._cfg) if trainer.is_global_zero else None
        if self._data is not None and isinstance(pl_module, DetectionModule):
            pl_module.add_metadata(data=self._data.to_dict())  # a part that makes no step writes a checkpoint, too
        if not self._is_continued:
            self._write(trainer)
        elif trainer.is_global_zero:
            self._tell_changes()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where a later part begins."""
        self._first_step = trainer.global_step if self._is_continued else None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Write of a later part, before it saves a checkpoint."""
        if self._first_step is not None and trainer.global_step > self._first_step:
            self._first_step = None
            self._write(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write of a later part that had no step left to make, where its settings are others than before."""
        if not self._is_written and trainer.is_global_zero and self._changes():
            self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        self._is_written = True
        module = trainer.lightning_module
        if isinstance(module, DetectionModule):
            self._environment["parameters"] = sum(each.numel() for each in module.detector.parameters())
        for logger in trainer.loggers:
            logger.log_hyperparams({**plain(self._cfg), "environment": self._environment})
        if not trainer.is_global_zero:
            return
        part = num_parts(self._folder) if self._is_continued else 0
        suffix = f"-{part}" if part else ""
        self._folder.mkdir(parents=True, exist_ok=True)
        mark_unfinished(self._folder)
        words = complete_words(HydraConfig.get())
        record_words(self._folder, words)
        remember_words(self._folder, words)
        remember(self._folder, needs_trust(plain(self._cfg)))
        write_text(self._folder / f"config{suffix}.yaml", OmegaConf.to_yaml(self._cfg, resolve=True))
        write_json(self._folder / f"environment{suffix}.json", self._environment)
        if self._data is not None:
            write_data(self._folder, self._data)

    def _tell_changes(self) -> None:
        changes = self._changes()
        if changes:
            _log.warning("This part of the run has other settings than the one before: %s", told(changes))

    def _changes(self) -> dict[str, tuple[object, object]]:
        before = last_config(self._folder)
        return {} if before is None else changed_settings(before, self._cfg)
