"""Logs how much the assignment of a fixed set of images changes from one validation to the next."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from deta.assign.instability import num_changed_candidates, set_distance
from deta.structures import SIZE_NAMES, Batch, DetectionOutput, StageKey
from deta.training.module import DetectionModule
from deta.training.ranks import gather
from deta.training.stage_names import assignment_names
from deta.utils.checks import require_int

_KEY = "deta_instability"


@dataclass(frozen=True)
class _Assigned:
    """What one assignment gave to one image.

    Attributes:
        pairs: ``[M, 2]`` int64 ``(candidate, object)`` on the CPU; see ``AssignmentInstability`` for the candidates.
        num_candidates: How many there are to choose from.
        num_objects: T.
    """

    pairs: Tensor
    num_candidates: int
    num_objects: int

    def is_comparable(self, other: "_Assigned") -> bool:
        """Whether candidates and objects have the same numbers in both."""
        return (self.num_candidates, self.num_objects) == (other.num_candidates, other.num_objects)


def _per_size() -> Tensor:
    return torch.zeros(len(SIZE_NAMES), dtype=torch.float64)


@dataclass
class _Sum:
    """Over the images of a validation."""

    num_images: int = 0
    num_changed: int = 0
    distance: Tensor = field(default_factory=_per_size)  # by object size
    num_objects: Tensor = field(default_factory=_per_size)

    def __add__(self, other: "_Sum") -> "_Sum":
        return _Sum(
            self.num_images + other.num_images,
            self.num_changed + other.num_changed,
            self.distance + other.distance,
            self.num_objects + other.num_objects,
        )

    def figures(self) -> dict[str, float]:
        figures = {"changed_queries_per_image": self.num_changed / self.num_images} if self.num_images else {}
        parts = {"": slice(None)} | {f"_{name}": slice(k, k + 1) for k, name in enumerate(SIZE_NAMES)}
        for suffix, part in parts.items():
            if self.num_objects[part].sum() > 0:
                figures[f"instability{suffix}"] = float(self.distance[part].sum() / self.num_objects[part].sum())
        return figures


class AssignmentInstability(pl.Callback):
    """Compares the assignment of the first validation images with that of the validation before.

    The validation assigns these images anyway, without augmentation and with the same random numbers every time, so
    nothing is computed twice. From the second validation on, for every assignment ``<stage>`` (see
    ``assignment_names``):

    - ``assign/<stage>/changed_queries_per_image``: queries whose object changed, the published score where the
      assignment is one-to-one (``num_changed_candidates``);
    - ``assign/<stage>/instability``, also by object size: one minus the Jaccard overlap of an object's sets of
      queries, averaged over objects, in 0..1 for every rule (``set_distance``).

    A learned query is known by its number. A query of a two-stage detector is known by the encoder position that it
    was made of, since its number is only the rank of that position among the selected ones: a query that keeps its
    position and its object has not changed, and a position that is no longer selected answers for nothing. With it
    the score of the decoder includes changes of the selection. The first stage is compared by position, too.

    Of the copies of a group, which are assigned each for itself, the first is compared.

    Images whose padded size changed, because a run is continued with another evaluation batch size or number of
    ranks, have other positions and are left out until the next validation.

    Args:
        num_images: Images compared, those that come first in the validation set; 0 compares none.
    """

    def __init__(self, *, num_images: int = 100) -> None:
        self._num_images = require_int("instability.num_images", num_images, low=0)
        self._before: dict[int, dict[str, _Assigned]] = {}
        self._now: dict[int, dict[str, _Assigned]] = {}
        self._sums: dict[str, _Sum] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start anew."""
        self._now, self._sums = {}, {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare the images of this batch that belong to the set."""
        assert isinstance(pl_module, DetectionModule)
        share = math.ceil((self._num_images - trainer.global_rank) / trainer.world_size)  # images go round the ranks
        num_wanted = min(len(batch), share - len(self._now))
        if num_wanted <= 0 or trainer.sanity_checking:
            return
        for index, image in enumerate(_assigned(pl_module, batch)[:num_wanted]):
            sizes = batch.targets.size_class()[index].cpu()
            identity = int(batch.image_ids[index])
            self._now[identity] = image
            for name, after in image.items():
                before = self._before.get(identity, {}).get(name)
                if before is not None and before.is_comparable(after):
                    self._sums[name] = self._sums.get(name, _Sum()) + _change(before, after, sizes)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum over ranks and log; what was seen is what the next validation is compared with."""
        if trainer.sanity_checking:
            return
        totals: dict[str, _Sum] = {}
        for sums in gather(self._sums):
            for name, part in sums.items():
                totals[name] = totals.get(name, _Sum()) + part
        for name, total in totals.items():
            figures = {f"assign/{name}/{figure}": value for figure, value in total.figures().items()}
            pl_module.log_dict(figures, sync_dist=True)  # the same on all ranks
        self._before = self._now

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the assignments of the latest validation, as seen by every rank."""
        own = {
            identity: {name: asdict(part) for name, part in image.items()} for identity, image in self._before.items()
        }
        checkpoint[_KEY] = gather(own)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up those of all ranks: an image may be another one's this time."""
        self._before = {
            identity: {name: _Assigned(**part) for name, part in image.items()}
            for rank in checkpoint.get(_KEY, [])
            for identity, image in rank.items()
        }


def _assigned(module: DetectionModule, batch: Batch) -> list[dict[str, _Assigned]]:
    """Every assignment of every image of a validation batch."""
    assert module.last is not None
    assert module.last.losses is not None
    images: list[dict[str, _Assigned]] = [{} for _ in range(len(batch))]
    num_objects = batch.targets.is_object.sum(1).tolist()
    made = module.last.losses.matches
    for name, (key, *_) in assignment_names(made).items():
        matches = made[key].classes
        numbers, num_candidates = _numbers(module.last.output, key, matches.target.shape[1])
        image, candidate, owner = matches.pairs().unbind(1)
        if numbers is not None:
            candidate = numbers[image, candidate]
        image, pairs = image.cpu(), torch.stack((candidate, owner), dim=1).cpu()
        for index, figures in enumerate(images):
            figures[name] = _Assigned(pairs[image == index], num_candidates, num_objects[index])
    return images


def _numbers(output: DetectionOutput, key: StageKey, num_candidates: int) -> tuple[Tensor | None, int]:
    """By which number a candidate is known, ``[B, N]`` or None for its own, and how many numbers there are."""
    source, first = output.assigned(key).source, output.stages.get(StageKey("first"))
    return (None, num_candidates) if source is None or first is None else (source, first.num_candidates)


def _change(before: _Assigned, after: _Assigned, sizes: Tensor) -> _Sum:
    distance = set_distance(before.pairs, after.pairs, after.num_objects)
    is_known = ~distance.isnan()
    size = sizes[: after.num_objects][is_known]
    return _Sum(
        num_images=1,
        num_changed=num_changed_candidates(before.pairs, after.pairs),
        distance=_per_size().index_add(0, size, distance[is_known]),
        num_objects=size.bincount(minlength=len(SIZE_NAMES)).double(),
    )
