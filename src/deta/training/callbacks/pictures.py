"""Pictures of predictions, ground truth and assignment, after every validation."""

from pathlib import Path

import lightning.pytorch as pl
from torch import Tensor

from deta.drawing.assignment import draw_assigned
from deta.drawing.boxes import compare, contact_sheet, save_picture, to_pil
from deta.drawing.scene import FOLDER, scene_of, write_scene
from deta.structures import Batch, Matches, Prediction
from deta.tracking.metrics import logged_step
from deta.tracking.mirror import mirrors
from deta.training.module import DetectionModule
from deta.training.stage_names import assignment_names
from deta.training.step import StepResult
from deta.utils.checks import require_int, require_number

_TITLES = {
    "proposals": "first stage: assigned anchors",
    "layers": "decoder: assigned references",
    "dense": "assigned priors",
}
"""The assignments that are drawn."""


class PredictionPictures(pl.Callback):
    """Draws the first validation images with detections, ground truth and assigned boxes, to files and to the trackers.

    Assigned boxes are the references by which the first stage and the last decoder layer were assigned; they need a
    criterion. The file of an image is replaced at every validation, so the folder shows the latest state; in ``boxes``
    below it lie the images as they are and the boxes as data, which a report draws.

    Args:
        folder: Where ``val_<k>.jpg`` go, made if need be.
        num_images: Images drawn, those that come first; 0 draws none.
        min_score: Detections below it are drawn pale, without their class, 0..1.
    """

    def __init__(self, *, folder: str | Path, num_images: int = 4, min_score: float = 0.3) -> None:
        self._folder = Path(folder)
        self._num_images = require_int("pictures.num_images", num_images, low=0)
        self._min_score = require_number("pictures.min_score", min_score, low=0, high=1)
        self._pictures: list[Tensor] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the pictures of the last validation."""
        self._pictures = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw until there are enough."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, DetectionModule)
        assert pl_module.last is not None
        assert pl_module.last.detections is not None
        found, names = pl_module.last.detections, pl_module.class_names
        assigned = _assigned(pl_module.last)
        for index in range(min(len(batch), self._num_images - len(self._pictures))):
            scene = scene_of(batch, index, found, assigned, names=names)
            write_scene(scene, batch, index, self._folder / FOLDER, f"val_{len(self._pictures)}")
            rows = [compare(batch, found, index, names=names, min_score=self._min_score)]
            panels = [
                draw_assigned(batch, candidates, matches, index, names=names, title=_TITLES[name])
                for name, candidates, matches in assigned
            ]
            rows += [contact_sheet(panels, columns=2)] if panels else []
            self._pictures.append(contact_sheet(rows, columns=1))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what was drawn."""
        if not self._pictures:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for k, picture in enumerate(self._pictures):
            save_picture(picture, self._folder / f"val_{k}.jpg")
        for mirror in mirrors(trainer.loggers):
            sheet = to_pil(contact_sheet(self._pictures, columns=1))
            mirror.log_pictures("val/pictures", [sheet], step=logged_step(trainer))


def _assigned(last: StepResult) -> list[tuple[str, Prediction, Matches]]:
    """The drawn assignments of a batch with their candidates, by name; none without a criterion."""
    if last.losses is None:
        return []
    made = last.losses.matches
    keys = assignment_names(made)
    return [
        (name, last.output.assigned(keys[name][0]), made[keys[name][0]].classes) for name in _TITLES if name in keys
    ]
