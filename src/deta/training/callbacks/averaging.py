"""Averaged weights that leave the trained ones alone."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging


class WeightAveraging(EMAWeightAveraging):
    """Lightning's moving average of the weights; takes the same arguments.

    Validation uses the average, and a checkpoint holds it as its weights. At the end of the training Lightning would
    write it over the trained weights, from which a longer run could not go on.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the trained weights as they are."""
