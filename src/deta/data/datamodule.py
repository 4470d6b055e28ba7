"""A data set in the layout of COCO or LVIS, as Lightning takes it."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule

from deta.data.categories import Categories
from deta.data.coco import CocoAnnotations, read_coco
from deta.data.dataset import CocoDataset
from deta.data.frequency import repeat_factors
from deta.data.image_rows import Layout
from deta.data.images import ImageRules
from deta.data.loaders import EvalLoader, TrainLoader
from deta.data.problems import MAX_EXAMPLES
from deta.data.samplers import EvalSampler, ShuffleGroups, TrainSampler
from deta.data.settings import DataSettings
from deta.data.sources import FolderSplit, Split
from deta.data.transforms import Transform
from deta.utils.checks import require_callable
from deta.utils.wording import counted

_log = logging.getLogger(__name__)


class CocoDataModule(LightningDataModule):
    """Training and validation images with annotations of COCO or LVIS.

    Use with ``Trainer(use_distributed_sampler=False)``: the loaders deal out the images to the ranks
    themselves. Crowd annotations become ignored areas, never objects. Testing and predicting read the
    validation images.

    Args:
        train_transform: Augmentation.
        val_transform: Deterministic preparation of validation images.
        categories: Category list that the class indexes must stand for, such as a checkpoint's, as
            ``Categories`` or its state; both files must have the same. None takes that of the training file,
            or, where nothing is trained, of the validation file.
        settings: The fields of ``Files``, ``Reading``, ``Choice`` and ``Loading``, side by side.

    Raises:
        ValueError: A setting does not exist, is missing or out of its range, see ``DataSettings``.
    """

    def __init__(
        self,
        *,
        train_transform: Transform,
        val_transform: Transform,
        categories: Categories | Mapping[str, Any] | None = None,
        **settings: Any,  # noqa: ANN401 - dealt to the parts that check them
    ) -> None:
        super().__init__()
        require_callable("data.train_transform", train_transform)
        require_callable("data.val_transform", val_transform)
        self._train_transform = train_transform
        self._val_transform = val_transform
        if isinstance(categories, Mapping):
            categories = Categories.from_state_dict(categories)
        self._categories: Categories | None = categories
        self._settings = DataSettings.of(settings)
        self._folders, self._splits = self._settings.files.folders(), self._settings.files.splits()
        self._image_rules = self._settings.reading.rules()
        self._earlier_exif: str | None = None  # of the parts of a run before this one
        self._train_dataset: CocoDataset | None = None
        self._val_dataset: CocoDataset | None = None

    @property
    def categories(self) -> Categories:
        """What class indexes mean; known after ``setup``."""
        if self._categories is None:
            raise RuntimeError("the categories are known only after setup(); call setup first or pass categories")
        return self._categories

    @property
    def num_classes(self) -> int:
        """Number of categories; known after ``setup``."""
        return len(self.categories)

    @property
    def val_annotations(self) -> Path:
        """The validation JSON, the ground truth of the evaluation exactly as its authors wrote it."""
        return self._splits["val"].annotation_file

    @property
    def layout(self) -> Layout:
        """Of the annotation files."""
        return self._settings.files.layout

    @property
    def num_workers(self) -> int:
        """Reading processes per rank and loader."""
        return self._settings.loading.num_workers

    @property
    def image_rules(self) -> ImageRules:
        """Which images are accepted and how they are read."""
        return self._image_rules

    @property
    def exif(self) -> str | None:
        """What EXIF orientations do: ``apply``, ``ignore``, or None where it is ``auto`` and none has been read yet.

        Of ``auto`` it is what most of the images needed.
        """
        if self._image_rules.exif != "auto":
            return self._image_rules.exif
        counts = Counter[str]()
        for dataset in (self._train_dataset, self._val_dataset):
            counts.update({} if dataset is None else dataset.orientations())
        if not counts["applied"] and not counts["ignored"]:
            return self._earlier_exif
        return "apply" if counts["applied"] >= counts["ignored"] else "ignore"

    @property
    def folders(self) -> Mapping[str, FolderSplit]:
        """``train`` and ``val`` as single files, whether or not they are read from there."""
        return self._folders

    @property
    def splits(self) -> Mapping[str, Split]:
        """``train`` and ``val`` as they are read."""
        return self._splits

    @property
    def train_dataset(self) -> CocoDataset:
        """Training samples; known after ``setup("fit")``."""
        return _require_setup(self._train_dataset, "fit")

    @property
    def val_dataset(self) -> CocoDataset:
        """Validation samples; known after ``setup``."""
        return _require_setup(self._val_dataset, "validate")

    def prepare_data(self) -> None:
        """Fetch the annotations of shards in an object store; nothing else needs preparation."""
        for split in self._splits.values():
            split.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read and check the annotation files which the stage needs; a second call does nothing.

        Args:
            stage: ``fit`` (or None) reads both files; any other stage the validation file alone.
        """
        if stage in (None, "fit") and self._train_dataset is None:
            split = self._splits["train"]
            annotations = self._chosen_for_training(self._read(split))
            self._train_dataset = self._dataset(
                annotations, split, self._train_transform, on_bad_image=self._settings.reading.on_bad_image
            )
        if self._val_dataset is None:
            split = self._splits["val"]
            self._val_dataset = self._dataset(self._read(split), split, self._val_transform)

    def train_dataloader(self) -> TrainLoader:
        """Shuffled, augmented batches of this rank; resumable, see ``TrainLoader``."""
        rank, num_ranks = self._rank_and_ranks()
        threshold = self._settings.choice.repeat_threshold
        annotations = self.train_dataset.annotations
        sampler = TrainSampler(
            num_samples=len(self.train_dataset),
            batch_size=self._settings.loading.batch_size,
            seed=self._settings.choice.seed,
            rank=rank,
            num_ranks=num_ranks,
            groups=self._shuffle_groups(),
            repeat_factors=None if threshold is None else repeat_factors(annotations, threshold),
        )
        seen = counted(len(sampler) * num_ranks, "training image")
        self._say(f"{seen} in an epoch, of {len(annotations)} different ones")
        if sampler.num_left_out:
            images = counted(sampler.num_left_out, "image is", "images are")
            size, ranks = self._settings.loading.batch_size, counted(num_ranks, "rank")
            need = f"another batch of {size} on {ranks} (data.batch_size)"
            self._say(f"{images} left out of every epoch, each time others: too few for {need}")
        return TrainLoader(
            dataset=self.train_dataset,
            sampler=sampler,
            collate=self._settings.loading.collate(),
            num_workers=self._settings.loading.num_workers,
            timeout=self._settings.loading.read_timeout,
            pin_memory=self._uses_cuda(),
        )

    def val_dataloader(self) -> EvalLoader:
        """Every validation image of this rank once, in the order of image ids.

        Raises:
            ValueError: On all ranks, if there are fewer images than ranks: one without any could not take part.
        """
        rank, num_ranks = self._rank_and_ranks()
        if len(self.val_dataset) < num_ranks:
            images = counted(len(self.val_dataset), "image")
            raise ValueError(f"{self.val_annotations} has {images} for {num_ranks} processes: use fewer devices")
        return EvalLoader(
            dataset=self.val_dataset,
            sampler=EvalSampler(num_samples=len(self.val_dataset), rank=rank, num_ranks=num_ranks),
            batch_size=self._settings.loading.eval_batch_size,
            collate=self._settings.loading.collate(),
            num_workers=self._settings.loading.num_workers,
            timeout=self._settings.loading.read_timeout,
            pin_memory=self._uses_cuda(),
        )

    def test_dataloader(self) -> EvalLoader:
        """The validation images."""
        return self.val_dataloader()

    def predict_dataloader(self) -> EvalLoader:
        """The validation images."""
        return self.val_dataloader()

    def teardown(self, stage: str) -> None:
        """Report the images which the training skipped, and what became of EXIF orientations."""
        for split, dataset in (("training", self._train_dataset), ("validation", self._val_dataset)):
            if dataset is not None and dataset.orientation_report():
                self._say(f"{split}: {dataset.orientation_report()}")
        skipped = [] if self._train_dataset is None else self._train_dataset.bad_images()
        if skipped:
            shown = ", ".join(skipped[:MAX_EXAMPLES])
            images = counted(len(skipped), "training image was", "training images were")
            _log.warning("%s skipped as unusable: %s", images, shown)

    def state_dict(self) -> dict[str, Any]:
        """The category list, so that a checkpoint says what its class indexes mean, and ``exif``."""
        return {"categories": self.categories.state_dict(), "exif": self.exif}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a checkpoint's classes are those of this data.

        Raises:
            ValueError: If they are not.
        """
        saved = Categories.from_state_dict(state_dict["categories"])
        saved.require_same(self.categories, source=str(self._splits["train"].annotation_file))
        self._earlier_exif = state_dict.get("exif")

    def _read(self, split: Split) -> CocoAnnotations:
        path = split.annotation_file
        annotations = read_coco(path, categories=self._categories, layout=self._settings.files.layout)
        self._categories = annotations.categories
        if self._settings.reading.check_files:
            split.require_images(annotations)
        level = logging.WARNING if annotations.report.num_dropped else logging.INFO
        self._say(f"{path}: {annotations.report.summary()}", level)
        for doubt in annotations.report.doubts:
            self._say(f"{path}: {doubt}", logging.WARNING)
        return annotations

    def _chosen_for_training(self, annotations: CocoAnnotations) -> CocoAnnotations:
        chosen = np.arange(len(annotations))
        if not self._settings.choice.keep_empty_images:
            chosen = chosen[annotations.num_objects() > 0]
            self._say(f"{counted(len(annotations) - len(chosen), 'image')} without objects left out of training")
        if self._settings.choice.limit_train_images is not None:
            chosen = chosen[: self._settings.choice.limit_train_images]
            self._say(f"training on the first {counted(len(chosen), 'image')} only")
        return annotations if len(chosen) == len(annotations) else annotations.select(chosen)

    def _dataset(
        self,
        annotations: CocoAnnotations,
        split: Split,
        transform: Transform,
        *,
        on_bad_image: str = "error",
    ) -> CocoDataset:
        return CocoDataset(
            annotations=annotations,
            images=split.images(annotations),
            transform=transform,
            seed=self._settings.choice.seed,
            on_bad_image=on_bad_image,
            max_bad_fraction=self._settings.reading.max_bad_fraction,
            rules=self._image_rules,
            num_sampled_classes=self._settings.choice.num_sampled_classes,
        )

    def _shuffle_groups(self) -> ShuffleGroups | None:
        if self._settings.choice.shuffle_window is None:
            return None
        shards = self._splits["train"].shards(self.train_dataset.annotations)
        if shards is None:
            raise ValueError("data.shuffle_window mixes shards: set data.source=shards, or data.shuffle_window=null")
        return ShuffleGroups(group=shards, window=self._settings.choice.shuffle_window)

    def _rank_and_ranks(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _uses_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _say(self, message: str, level: int = logging.INFO) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            _log.log(level, message)


def _require_setup(dataset: CocoDataset | None, stage: str) -> CocoDataset:
    if dataset is None:
        raise RuntimeError(f"call setup({stage!r}) of the data module first")
    return dataset
