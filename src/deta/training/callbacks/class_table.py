"""Average precision of every class, after every validation."""

from pathlib import Path

import lightning.pytorch as pl

from deta.tracking.metrics import logged_step
from deta.tracking.mirror import mirrors
from deta.training.module import DetectionModule
from deta.utils.tables import as_table, write_csv


class ClassTable(pl.Callback):
    """Writes ``classes.csv``, that of the latest validation, and sends every table to the trackers as ``val/classes``.

    Columns: ``class``, ``objects``, ``AP`` and ``AP50``; a class without an object has no AP.

    Args:
        folder: Where the file goes, made if need be.
    """

    def __init__(self, *, folder: str | Path) -> None:
        self._folder = Path(folder)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what the module has found."""
        assert isinstance(pl_module, DetectionModule)
        if trainer.sanity_checking or not trainer.is_global_zero or pl_module.result is None:
            return
        rows = [
            {
                "class": result.name,
                "objects": result.num_objects,
                "AP": _defined(result.ap),
                "AP50": _defined(result.ap50),
            }
            for result in pl_module.result.per_class
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        write_csv(self._folder / "classes.csv", rows)
        for mirror in mirrors(trainer.loggers):
            mirror.log_table("val/classes", *as_table(rows), step=logged_step(trainer))


def _defined(value: float) -> float | None:
    return value if value == value else None
