"""Image files and annotations to samples, one at a time."""

import logging
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from deta.data.coco import CocoAnnotations
from deta.data.decoding import ImageError
from deta.data.federated import FederatedAnnotations
from deta.data.images import ORIENTATIONS, ImageRules, Orientation, decode_image
from deta.data.problems import MAX_EXAMPLES
from deta.data.sample import Sample, SampleKey
from deta.data.sources import ImageSource
from deta.data.transforms import Transform
from deta.utils.checks import require_choice, require_int, require_number
from deta.utils.wording import counted

_log = logging.getLogger(__name__)


class CocoDataset(Dataset[Sample]):
    """Samples of a COCO annotation file.

    A sample is a function of ``(seed, epoch, image, repeat)`` alone: neither worker, rank nor what was read before
    changes it.

    Args:
        annotations: Packed annotations.
        images: Where their images come from.
        transform: Applied to every sample.
        seed: Of the augmentation.
        on_bad_image: ``error`` raises; ``skip`` takes the next readable image of the data set in its place,
            so that batches stay full, and counts it. An evaluation must not skip: its result would silently
            belong to another data set.
        max_bad_fraction: Largest share of the images that ``skip`` may pass over, 0..1; one more raises.
        rules: Which images are accepted and how they are read; None is the defaults.
        num_sampled_classes: Classes drawn for each image among those that it says nothing about; of use in the
            layout of LVIS alone.
    """

    def __init__(
        self,
        *,
        annotations: CocoAnnotations,
        images: ImageSource,
        transform: Transform,
        seed: int = 0,
        on_bad_image: str = "error",
        max_bad_fraction: float = 0.001,
        rules: ImageRules | None = None,
        num_sampled_classes: int = 0,
    ) -> None:
        self.annotations = annotations
        self._images = images
        self._transform = transform
        self._seed = require_int("seed", seed, low=0)
        self._skips = require_choice("on_bad_image", on_bad_image, ("error", "skip")) == "skip"
        self._max_bad_fraction = require_number("max_bad_fraction", max_bad_fraction, low=0, high=1)
        self._rules = rules or ImageRules()
        self._federated = (
            None
            if annotations.negative is None
            else FederatedAnnotations(annotations=annotations, num_sampled=num_sampled_classes, seed=seed)
        )
        # In shared memory, so that the counts cover all worker processes.
        self._is_bad = torch.zeros(len(annotations), dtype=torch.bool).share_memory_()
        self._orientations = torch.zeros(len(annotations), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Read and augment one sample; a plain index means epoch 0.

        Raises:
            ImageError: If the image cannot be used, or too many could not.
            ShardError: If it is to come from a shard that is missing or damaged.
        """
        key = key if isinstance(key, SampleKey) else SampleKey(epoch=0, image=key)
        index, image = self._read_usable(key.image)
        key = key._replace(image=index)
        sample, generator = self._sample(key, image), sample_generator(self._seed, key)
        mixed = getattr(self._transform, "mixed", None)
        if mixed is None:
            return self._transform(sample, generator)
        picture: Sample = mixed(sample, generator, partial(self._other, key), epoch=key.epoch)
        return picture

    def untransformed(self, index: int) -> Sample:
        """The sample of an image as its file and the annotations give it.

        Raises:
            ImageError: If the image cannot be used.
        """
        index, image = self._read_usable(index)
        return self._sample(SampleKey(epoch=0, image=index), image)

    def bad_images(self) -> list[str]:
        """File names of the images skipped so far, by all workers."""
        return [self.annotations.file_name(int(index)) for index in torch.nonzero(self._is_bad)]

    def orientations(self) -> dict[Orientation, int]:
        """What became of the EXIF orientations of the images read so far, by all workers; without those of none."""
        counts = torch.bincount(self._orientations, minlength=len(ORIENTATIONS)).tolist()
        return {what: count for what, count in zip(ORIENTATIONS[1:], counts[1:], strict=True) if count}

    def orientation_report(self) -> str:
        """One sentence on the EXIF orientations of the images read so far; empty if none had one."""
        counts = self.orientations()
        if not counts:
            return ""
        parts = [f"{counts.get('applied', 0)} applied", f"{counts.get('ignored', 0)} ignored"]
        if "undecided" in counts:
            parts.append(f"{counts['undecided']} ignored although the annotated size fits both ways")
        images = counted(sum(counts.values()), "image has", "images have")
        return f"{images} an EXIF orientation: {', '.join(parts)} (data.exif={self._rules.exif})"

    def _other(self, key: SampleKey, generator: Generator) -> Sample:
        """Another sample without transform, for the one of ``key``."""
        index = int(torch.randint(len(self), (), generator=generator))
        index, image = self._read_usable(index)
        return self._sample(key._replace(image=index), image)

    def _read_usable(self, index: int) -> tuple[int, Tensor]:
        while True:
            encoded = self._images.open(index)
            try:
                decoded = decode_image(
                    encoded.file,
                    name=encoded.name,
                    expected_size=self.annotations.size(index),
                    rules=self._rules,
                )
            except ImageError as error:
                if not self._skips:
                    raise
                self._note_bad(index, error)
                index = (index + 1) % len(self)
            else:
                self._note_orientation(index, encoded.name, decoded.orientation)
                return index, decoded.pixels

    def _note_orientation(self, index: int, name: str, orientation: Orientation) -> None:
        if orientation != "none" and not self._orientations.any():
            action = "applied" if orientation == "applied" else "ignored"
            _log.info("image %s has an EXIF orientation, which is %s (data.exif=%s)", name, action, self._rules.exif)
        self._orientations[index] = ORIENTATIONS.index(orientation)

    def _note_bad(self, index: int, error: ImageError) -> None:
        if not self._is_bad[index]:
            _log.warning("skipped: %s", error)
        self._is_bad[index] = True
        num_bad = int(self._is_bad.sum())
        if num_bad > self._max_bad_fraction * len(self) or num_bad == len(self):
            names = ", ".join(self.bad_images()[:MAX_EXAMPLES])
            raise ImageError(
                f"{num_bad} of {counted(len(self), 'image')} cannot be used ({names}), more than "
                f"data.max_bad_fraction={self._max_bad_fraction} allows; the last: {error}"
            ) from error

    def _sample(self, key: SampleKey, image: Tensor) -> Sample:
        rows = self.annotations.rows(key.image)
        is_crowd = torch.from_numpy(self.annotations.is_crowd[rows])
        boxes = torch.from_numpy(self.annotations.boxes[rows])
        return Sample(
            image=image,
            boxes=boxes[~is_crowd],
            labels=torch.from_numpy(self.annotations.labels[rows])[~is_crowd],
            areas=torch.from_numpy(self.annotations.areas[rows])[~is_crowd],
            ignore_boxes=boxes[is_crowd],
            image_id=int(self.annotations.image_ids[key.image]),
            original_size=(image.shape[1], image.shape[2]),
            federated=None if self._federated is None else self._federated(key),
        )


def sample_generator(seed: int, key: SampleKey) -> Generator:
    """The random numbers of one sample, independent of those of every other."""
    state = np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0]))
