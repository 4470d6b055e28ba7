"""The best checkpoint so far, in a folder that may move."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from deta.tracking.wandb import WandbTracker
from deta.training.callbacks.monitored import require_metric

_log = logging.getLogger(__name__)

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class BestCheckpoint(ModelCheckpoint):
    """Lightning's callback, with two differences; takes the same arguments.

    Its state names files, not paths, so that a run that was moved or copied knows its best score; one without the
    file starts anew. And while the monitored metric is undefined, as AP is without objects, the newest checkpoint is
    the best one, instead of the first; a warning says so once.
    """

    @property
    def state_key(self) -> str:
        """That of Lightning's own callback, whose state it reads."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell W&B of the best of the earlier parts, which may stay the best."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbTracker) and self.best_model_path:
                logger.note_best(Path(self.best_model_path))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what is best.

        Raises:
            ValueError: There is no metric of the name in ``monitor``.
        """
        if not trainer.sanity_checking and not self._should_save_on_train_epoch_end(trainer):
            require_metric(f"callbacks.{self.filename}.monitor", self.monitor, trainer)
        super().on_validation_end(trainer, pl_module)

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether a checkpoint with this value belongs to the best."""
        if current is None or not torch.isnan(current):
            return bool(super().check_monitor_top_k(trainer, current))
        if self.best_model_score is not None and torch.isfinite(self.best_model_score):
            return False
        if not self.best_model_path:
            _warn(f"{self.monitor} is undefined: until it is defined, {self.filename}.ckpt is the newest checkpoint")
        return True

    def state_dict(self) -> dict[str, Any]:
        """Scores by the names of their files."""
        state = super().state_dict()
        return {
            **state,
            "dirpath": None,
            "best_k_models": {_name(path): score for path, score in state["best_k_models"].items()},
            **{key: _name(state[key]) for key in _PATHS},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores of files that are there; an older state has their paths."""
        models = {self._own(path): score for path, score in state_dict["best_k_models"].items()}
        if not all(Path(path).is_file() for path in models):
            _warn(f"{self.dirpath} does not hold the best checkpoint of this run: the next one is the best so far")
            return
        paths = {key: self._own(state_dict[key]) for key in _PATHS}
        super().load_state_dict({**state_dict, "dirpath": self.dirpath, "best_k_models": models, **paths})

    def _own(self, path: str) -> str:
        return str(Path(self.dirpath or "") / _name(path)) if path else ""


def _name(path: str) -> str:
    return Path(path).name


@rank_zero_only
def _warn(message: str) -> None:
    _log.warning("%s", message)
