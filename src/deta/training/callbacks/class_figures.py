"""Which classes are taken for which, and curves of every class, at the end of a training."""

import logging
from pathlib import Path

import lightning.pytorch as pl
from PIL import Image

from deta.evaluation.class_charts import class_figures, write_class_curves
from deta.tracking.metrics import logged_step
from deta.tracking.mirror import mirrors
from deta.training.module import DetectionModule
from deta.utils.tables import as_table

_log = logging.getLogger(__name__)


class ClassFigures(pl.Callback):
    """Writes ``class_curves.png`` and ``confusion.png`` with their tables of the latest validation, at the end.

    The trackers get both figures, and the tables as ``val/class_scores`` and ``val/confusion_table``. Where no
    validation was made by this process, as of a run that was killed after its last one, a message says how to get them.

    Args:
        folder: The run directory.
    """

    def __init__(self, *, folder: str | Path) -> None:
        self._folder = Path(folder)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write and send them."""
        assert isinstance(pl_module, DetectionModule)
        if not trainer.is_global_zero or pl_module.scores is None:
            return
        if pl_module.result is None:
            _log.info("Figures of the classes need a validation of this process: deta eval ckpt=%s", self._folder)
            return
        curves = write_class_curves(
            self._folder, *pl_module.evaluator.latest(), max_detections=pl_module.result.max_detections
        )
        step = logged_step(trainer)
        tables = {"val/class_scores": curves.rows(), "val/confusion_table": curves.confusion_rows()}
        for mirror in mirrors(trainer.loggers):
            for path in class_figures(self._folder):
                with Image.open(path) as picture:
                    mirror.log_pictures(f"val/{path.stem}", [picture], step=step)
            for name, rows in tables.items():
                if rows:
                    mirror.log_table(name, *as_table(rows), step=step)
