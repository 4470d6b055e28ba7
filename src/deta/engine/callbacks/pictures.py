"""Pictures of predictions beside ground truth, after every validation."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from deta.engine.module import DetectionModule
from deta.engine.pictures import compare, contact_sheet, save_picture, to_pil
from deta.structures import Batch
from deta.utils.checks import require_int, require_number


class PredictionPictures(pl.Callback):
    """Draws the first validation images with their detections, to files and to W&B.

    The file of an image is replaced at every validation, so the folder shows the latest state.

    Args:
        folder: Where ``val_<k>.jpg`` go, made if need be.
        num_images: Images drawn, those that come first; 0 draws none.
        min_score: Detections below it are not drawn, 0..1.
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
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, DetectionModule)
        assert pl_module.detections is not None
        for index in range(min(len(batch), self._num_images - len(self._pictures))):
            picture = compare(
                batch, pl_module.detections, index, names=pl_module.class_names, min_score=self._min_score
            )
            self._pictures.append(picture)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what was drawn."""
        if trainer.sanity_checking or not self._pictures:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for k, picture in enumerate(self._pictures):
            save_picture(picture, self._folder / f"val_{k}.jpg")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/pictures", [to_pil(contact_sheet(self._pictures, columns=1))])
