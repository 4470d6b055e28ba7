"""A detector and everything around it: images in, results out, in batches and in the background."""

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from deta.data.collate import Collate
from deta.data.decoding import ImageError
from deta.data.images import ImageRules
from deta.data.sample import Sample, unlabelled_sample
from deta.data.transforms import Transform
from deta.inference.pictures import Picture
from deta.inference.pipeline import Pipeline
from deta.inference.results import DEFAULT_SCORE, Result
from deta.models.postprocess import Postprocess
from deta.structures import Batch, DetectionOutput, Detections
from deta.utils.checks import require_choice, require_int, require_number

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""By Lightning's names: what operations that stand it compute in."""
_MOST_OF_BATCH = 16
"""Images, unless a number is asked for."""
_PIXELS_OF_BATCH = {"cpu": 2**18, "cuda": 2**23}
"""Of a batch that is chosen here: on a CPU what its caches hold, on a GPU what keeps it busy."""
_MOST_LANES = 4
"""Batches at once on a CPU, each of which has its own activations in memory."""
_MOST_READERS = 4


@dataclass(frozen=True, eq=False)
class _Prepared:
    picture: Picture
    sample: Sample
    seen: Sample
    orientation: str


@dataclass(frozen=True, eq=False)
class Predictor:
    """Detects objects in pictures.

    Images are batched with others that have the same size behind the transform, never padded: what is found in an image
    does not depend on its neighbours.

    Attributes:
        detector: In evaluation mode, on ``device``.
        postprocess: Selects detections.
        transform: Preparation of validation images in the training.
        names: Name of every class index.
        category_ids: Category of every class index; None for one that stands for none, whose detections are left out.
        rules: Which images are accepted and how they are read.
        device: Where the detector is.
        precision: One of ``PRECISIONS``.
    """

    detector: nn.Module
    postprocess: Postprocess
    transform: Transform
    names: tuple[str, ...]
    category_ids: tuple[int | None, ...]
    rules: ImageRules
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "32-true"

    def __post_init__(self) -> None:
        require_choice("precision", self.precision, PRECISIONS)

    def stream(
        self,
        pictures: Iterable[Picture],
        *,
        min_score: float = DEFAULT_SCORE,
        batch_size: int | None = None,
        is_single: bool = False,
        skip: Callable[[Picture, ImageError], None] | None = None,
    ) -> Generator[Result, None, None]:
        """Results in the order of the pictures, which are read in the background while the device works.

        Args:
            pictures: Any number, endless too.
            min_score: Score from which detections are told, 0..1.
            batch_size: Most images of a batch, from 1; None chooses by their size and the device.
            is_single: Whether there is one picture alone, for which all threads work together.
            skip: Called with every unusable image, in a background thread; None raises the error.

        Raises:
            ImageError: An image cannot be used.
            ValueError: A number is out of its range, or the model gives what is no number.
        """
        require_number("min_score", min_score, low=0, high=1)
        if batch_size is not None:
            require_int("batch_size", batch_size, low=1)
        threads = torch.get_num_threads()
        is_cpu = self.device.type == "cpu"
        num_lanes = 1 if is_single else min(threads, _MOST_LANES) if is_cpu else 2
        pipeline = Pipeline(
            read=partial(self._prepare, skip=skip),
            key=lambda prepared: prepared.seen.size,
            most=partial(self._most, batch_size=batch_size),
            answer=partial(self._answer, min_score=min_score, threads=_ThreadsOfLane(max(1, threads // num_lanes))),
            num_readers=1 if is_single else min(_MOST_READERS, threads + 1),
            num_lanes=num_lanes,
        )
        return _with_threads(pipeline.run(pictures), threads)

    def _prepare(self, picture: Picture, skip: Callable[[Picture, ImageError], None] | None) -> _Prepared | None:
        try:
            image = picture.read(self.rules)
        except ImageError as error:
            if skip is None:
                raise
            skip(picture, error)
            return None
        sample = unlabelled_sample(image.pixels, image_id=0)
        return _Prepared(picture, sample, self.transform(sample, torch.Generator()), image.orientation)

    def _most(self, prepared: _Prepared, batch_size: int | None) -> int:
        if batch_size is not None:
            return batch_size
        height, width = prepared.seen.size
        budget = _PIXELS_OF_BATCH.get(self.device.type, _PIXELS_OF_BATCH["cpu"])
        return max(1, min(_MOST_OF_BATCH, budget // (height * width)))

    def _answer(self, batch: Sequence[_Prepared], min_score: float, threads: "_ThreadsOfLane") -> list[Result]:
        threads.set()
        collated = Collate()([prepared.seen for prepared in batch])
        if self.device.type == "cuda":
            collated = collated.pin_memory()
        detections = self._detect(collated.to(self.device, non_blocking=True))
        return [self._result(prepared, detections, row, min_score) for row, prepared in enumerate(batch)]

    @torch.inference_mode()
    def _detect(self, batch: Batch) -> Detections:
        precision = PRECISIONS[self.precision]
        with torch.autocast(self.device.type, precision, enabled=precision is not None):
            output: DetectionOutput = self.detector(batch.images, batch.is_padding)
        return self.postprocess(output.final, batch.original_sizes).to("cpu")

    def _result(self, prepared: _Prepared, detections: Detections, row: int, min_score: float) -> Result:
        kept = detections.is_detection[row]
        boxes, scores, labels = (part[row] for part in (detections.boxes, detections.scores, detections.labels))
        is_mapped = torch.tensor([identity is not None for identity in self.category_ids])[labels] & kept
        num_unmapped = int(kept.sum()) - int(is_mapped.sum())
        boxes, scores, labels = boxes[is_mapped].float(), scores[is_mapped].float(), labels[is_mapped]
        if not bool(torch.isfinite(boxes).all() & torch.isfinite(scores).all()):
            raise ValueError(
                f"detections must have finite boxes and scores, those in {prepared.picture.name} have not; the model "
                "has probably diverged"
            )
        order = scores.argsort(descending=True, stable=True)
        return Result(
            picture=prepared.picture,
            size=prepared.sample.size,
            all_boxes=boxes[order],
            all_scores=scores[order],
            all_labels=labels[order],
            names=self.names,
            category_ids=self.category_ids,
            min_score=min_score,
            rules=self.rules,
            orientation=prepared.orientation,
            num_unmapped=num_unmapped,
            kept_pixels=prepared.sample.image,
        )


def _with_threads(results: Iterable[Result], threads: int) -> Generator[Result, None, None]:
    """The same, and then the number of threads that new threads of the caller compute with is what it was."""
    try:
        yield from results
    finally:
        torch.set_num_threads(threads)


class _ThreadsOfLane:
    """Gives every lane its share of the threads, once: PyTorch keeps their number by thread."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._known = threading.local()

    def set(self) -> None:
        """Called in the lane."""
        if not hasattr(self._known, "is_set"):
            torch.set_num_threads(self._number)
            self._known.is_set = True
