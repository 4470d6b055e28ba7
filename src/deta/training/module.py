"""The LightningModule: detector, criterion, post-processing and evaluation wired together."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deta.evaluation import DetectionEvaluator, DetectionResult, Scores
from deta.losses import Criterion, class_error
from deta.models.postprocess import Postprocess
from deta.ops.random import Draw
from deta.structures import Batch, DetectionOutput, Detections
from deta.training.accumulation import (
    AccumulatedBatch,
    require_one_divisor,
    require_shared_divisors,
    require_validation_between_steps,
)
from deta.training.continuation import (
    DRAWS,
    DRAWS_KEY,
    continue_optimization,
    continue_weights,
    tell_other_draws,
)
from deta.training.optim import parameter_groups, parameter_kinds
from deta.training.regions import compiled_step
from deta.training.schedules import CourseLR
from deta.training.stage_names import term_name
from deta.training.step import Step, StepResult, step
from deta.training.validation_loss import ValidationLoss
from deta.utils.checks import require_choice

CHECKPOINT_KEY = "deta"
"""Key of a checkpoint under which configuration, categories and versions lie."""
_SCORES_KEY = "deta_scores"


class DetectionModule(pl.LightningModule):
    """Trains and evaluates a detector.

    Args:
        detector: Called with ``(images, is_padding, targets, draw)``, returns a ``DetectionOutput``.
        postprocess: Final boxes of the last layer.
        evaluator: Metric over the validation images.
        criterion: Losses of the output; None evaluates without a loss and cannot train.
        optimizer: Makes an optimizer of parameter groups; None cannot train.
        scheduler: Makes a learning-rate schedule of an optimizer; None is constant.
        scheduler_interval: What one step of the schedule is: ``epoch`` or ``step``.
        lr: Base learning rate.
        groups: Further arguments of ``parameter_groups`` by name, such as ``lr_factors``.
        seed: Seed of random choices in the assignment.
        metadata: Stored in every checkpoint, see ``make_metadata``.

    Attributes:
        last: Result of the latest training or validation step, detached, for callbacks; None outside of an epoch.
        result: Of the latest validation, for callbacks and commands.
        scores: Of the latest validation, also of one in an earlier process of this run; None before the first.
    """

    def __init__(
        self,
        *,
        detector: nn.Module,
        postprocess: Postprocess,
        evaluator: DetectionEvaluator[Any],
        criterion: Criterion | None = None,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        scheduler_interval: str = "epoch",
        lr: float = 2e-4,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        seed: int = 0,
        metadata: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.detector = detector
        self.criterion = criterion
        self.postprocess = postprocess
        self.evaluator = evaluator
        self.last: StepResult | None = None
        self.result: DetectionResult | None = None
        self.scores: Scores | None = None
        self._accumulated = AccumulatedBatch()
        self._validation_loss = ValidationLoss()
        self._step: Step = step
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._interval = require_choice("schedule.interval", scheduler_interval, ("epoch", "step"))
        self._lr = lr
        self._groups = dict(groups or {})
        self._seed = seed
        self._metadata = dict(metadata)

    @property
    def seed(self) -> int:
        """Of random choices in the assignment."""
        return self._seed

    @property
    def class_names(self) -> Sequence[str]:
        """Name of every class index."""
        names: Sequence[str] = self._metadata["category_names"]
        return names

    def compile_step(self, mode: bool | str, **options: bool) -> None:
        """Let ``torch.compile`` make code of the step; see ``compiled_step``."""
        self._step = compiled_step(self.detector, mode, **options)

    def forward(self, batch: Batch) -> DetectionOutput:
        """Predictions of every stage for a batch."""
        output: DetectionOutput = self.detector(batch.images, batch.is_padding)
        return output

    def detect(self, batch: Batch) -> Detections:
        """Final boxes of a batch, in pixels of the original images."""
        return self.postprocess(self(batch).final, batch.original_sizes)

    def on_train_start(self) -> None:
        """Refuse settings under which gradients of several batches would not be those of a larger one.

        A schedule that is told in epochs or shares of the training begins here, where their number of steps is known.
        """
        num_batches = self.trainer.accumulate_grad_batches
        require_one_divisor(self.criterion, num_batches)
        require_validation_between_steps(self.trainer)
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, CourseLR):
                steps_per_epoch = math.ceil(self.trainer.num_training_batches / num_batches)
                config.scheduler.begin(steps_per_epoch, self.trainer.estimated_stepping_batches)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch, divided as ``AccumulatedBatch`` says.

        Every term is logged as its mean over ranks, the loss of the global batch of an optimizer step.
        """
        num_batches = self.trainer.accumulate_grad_batches
        if batch_idx % num_batches == 0:
            self._accumulated = AccumulatedBatch()
        result = self._result(batch, self._draw(self.current_epoch, batch_idx))
        assert result.losses is not None
        if result.losses.has_own_divisors:
            require_shared_divisors(num_batches)
        losses = result.losses.averaged(self._accumulated_mean)
        total = losses.total()
        matches = losses.matches_of(result.output.last).classes
        error = class_error(result.output.final.logits, matches, batch.targets)
        values = torch.cat((losses.terms().detach(), torch.stack((total.detach(), error))))
        values = self._mean_over_ranks(values)
        *terms, loss = self._accumulated.losses(values[:-1]).unbind()
        names = [f"train/{term_name(*name)}" for name in losses.names]
        logged = {**dict(zip(names, terms, strict=True)), "train/class_error": values[-1]}
        self.log_dict(logged, batch_size=len(batch))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.last = replace(result, losses=losses).detach()
        return total * num_batches  # Lightning divides by it

    def on_before_backward(self, loss: Tensor) -> None:
        """Make the gradients of earlier batches of the step those of a larger batch."""
        self._accumulated.rescale(self.parameters())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Detections and, with a criterion, the loss of a batch, accumulated over the epoch.

        Random choices of the assignment are the same in every validation, and ranks do not talk to each other: one
        may have a batch more.
        """
        result = self._result(batch, self._draw(0, batch_idx))
        if result.losses is not None:
            self._validation_loss.update(result.losses)
        detections = self.postprocess(result.output.final, batch.original_sizes)
        self.last = replace(result, detections=detections).detach()
        self.evaluator.update(detections, batch.image_ids)

    def on_validation_epoch_end(self) -> None:
        """Compute loss and metric over all images of all ranks, which may have had different numbers of batches."""
        loss = self._validation_loss.compute()
        if loss is not None:
            self.log("val/loss", loss)
        self._validation_loss.reset()
        if not self.trainer.sanity_checking:
            self.evaluator.expect_all_images = self._validates_all_images()
            try:
                self.result = self.evaluator.compute()
            except ValueError as error:
                place = f"validation at epoch {self.trainer.current_epoch}, step {self.trainer.global_step}"
                raise ValueError(f"{place}: {error}") from error
            self.scores = self.result.scores()
            metrics = {f"val/{name}": value for name, value in self.scores.metrics.items()}
            self.log_dict(metrics, sync_dist=True)
        self.evaluator.reset()
        self.last = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over the parameter groups and, if there is one, its schedule."""
        optimizer, scheduler = self._optimization()
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self._interval}}

    def add_metadata(self, **more: Any) -> None:  # noqa: ANN401 - plain data
        """Store further plain data in every checkpoint from here on."""
        self._metadata.update(more)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the latest scores and what builds the detector again and shows it images as it saw them."""
        datamodule = getattr(self.trainer, "datamodule", None)
        checkpoint[CHECKPOINT_KEY] = {**self._metadata, "exif": getattr(datamodule, "exif", None)}
        checkpoint[DRAWS_KEY] = DRAWS
        checkpoint[_SCORES_KEY] = None if self.scores is None else asdict(self.scores)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the configuration decide how a training goes on, see ``deta.training.continuation``.

        Raises:
            ValueError: The checkpoint does not fit it, which is found before any weight is loaded.
        """
        continue_weights(checkpoint, self, self.trainer.callbacks)  # type: ignore[attr-defined]  # Lightning adds it when it is made
        continue_optimization(checkpoint, *self._optimization(), interval=self._interval)
        tell_other_draws(checkpoint)
        scores = checkpoint.get(_SCORES_KEY)
        self.scores = None if scores is None else Scores(**scores)

    def _optimization(self) -> tuple[Optimizer, LRScheduler | None]:
        if self._make_optimizer is None:
            raise ValueError("this module was made for evaluation: training needs an optimizer and a criterion")
        groups = parameter_groups(
            self.detector.named_parameters(),
            lr=self._lr,
            **self._groups,
            kinds=parameter_kinds(self.detector),
        )
        optimizer = self._make_optimizer(groups)
        try:
            return optimizer, None if self._make_scheduler is None else self._make_scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise ValueError(f"schedule.make cannot be made as it is set: {error}") from error

    def _validates_all_images(self) -> bool:
        """Whether no limit is set; the integer 1 would be a limit of one batch."""
        limit = self.trainer.limit_val_batches
        return isinstance(limit, float) and limit == 1.0

    def _result(self, batch: Batch, draw: Draw) -> StepResult:
        """A step by the rules of this epoch."""
        return self._step(self.detector, None if self.criterion is None else self.criterion.at(draw), batch, draw)

    def _draw(self, *place: int) -> Draw:
        """Random numbers that depend on the seed, the place and the rank alone."""
        return Draw.of(self._seed, *place, self.global_rank, epoch=self.current_epoch)

    def _accumulated_mean(self, counts: Tensor) -> Tensor:
        return self._accumulated.divisors(self._mean_over_ranks(counts))

    def _mean_over_ranks(self, values: Tensor) -> Tensor:
        mean: Tensor = self.trainer.strategy.reduce(values.clone(), reduce_op="mean")
        return mean
