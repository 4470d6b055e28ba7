"""Detections as flat arrays: what the metric collects and what a result file holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deta.structures import Detections
from deta.utils.wording import counted

_NUM_NAMED = 5
"""Ids that an error message names before it says "and more"."""


@dataclass(frozen=True)
class CocoDetections:
    """Detections in the space of an annotation file.

    Attributes:
        image_ids: ``[N]`` int64.
        category_ids: ``[N]`` int64.
        boxes_xywh: ``[N, 4]`` float64 in pixels of the original image.
        scores: ``[N]`` float64.
        num_unmapped: Detections left out because their class stands for no category.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    scores: NDArray[np.float64]
    num_unmapped: int

    def __len__(self) -> int:
        return len(self.scores)

    def of_categories(self, category_ids: Sequence[int]) -> Self:
        """The detections of these categories alone."""
        return self._rows(np.flatnonzero(np.isin(self.category_ids, category_ids)))

    def best_of_images(self, number: int) -> Self:
        """At most ``number`` detections of every image, those with the highest scores, of equal ones the first."""
        by_score = np.lexsort((-self.scores, self.image_ids))  # stable, by image and then by score
        image_ids = self.image_ids[by_score]
        is_first = np.concatenate((np.ones(min(1, len(self)), dtype=np.bool_), image_ids[1:] != image_ids[:-1]))
        places = np.arange(len(self))
        starts = np.maximum.accumulate(np.where(is_first, places, 0))
        return self._rows(np.sort(by_score[places - starts < number]))

    def records(self) -> list[dict[str, Any]]:
        """One entry of COCO's result file per detection: image_id, category_id, bbox (xywh) and score."""
        columns = (self.image_ids, self.category_ids, self.boxes_xywh, self.scores)
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for image_id, category_id, box, score in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def _rows(self, kept: NDArray[np.int64]) -> Self:
        return replace(
            self,
            image_ids=self.image_ids[kept],
            category_ids=self.category_ids[kept],
            boxes_xywh=self.boxes_xywh[kept],
            scores=self.scores[kept],
        )


@dataclass(frozen=True)
class FlatDetections:
    """Detections of a list of images in model classes: the rows of the first image, then of the next.

    Attributes:
        image_ids: ``[I]`` int64, one per image, images without a detection included.
        num_rows: ``[I]`` int64 detections of each image; their sum is N.
        boxes_xyxy: ``[N, 4]`` float64 in pixels of the original image.
        scores: ``[N]`` float64.
        labels: ``[N]`` int64 class index of the model.
    """

    image_ids: NDArray[np.int64]
    num_rows: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    @classmethod
    def from_detections(cls, detections: Detections, image_ids: Tensor) -> Self:
        """Flatten a batch; synchronises.

        Args:
            detections: Of B images.
            image_ids: ``[B]`` ids in the annotation file.
        """
        is_detection = detections.is_detection.cpu()
        return cls(
            image_ids=_integers(image_ids),
            num_rows=_integers(is_detection.sum(dim=1)),
            boxes_xyxy=_floats(detections.boxes)[is_detection.numpy()],
            scores=_floats(detections.scores)[is_detection.numpy()],
            labels=_integers(detections.labels)[is_detection.numpy()],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All images of all parts, in order; no part gives no image."""
        return cls(
            image_ids=np.concatenate([np.empty(0, np.int64), *(part.image_ids for part in parts)]),
            num_rows=np.concatenate([np.empty(0, np.int64), *(part.num_rows for part in parts)]),
            boxes_xyxy=np.concatenate([np.empty((0, 4)), *(part.boxes_xyxy for part in parts)]),
            scores=np.concatenate([np.empty(0), *(part.scores for part in parts)]),
            labels=np.concatenate([np.empty(0, np.int64), *(part.labels for part in parts)]),
        )

    def row_image_ids(self) -> NDArray[np.int64]:
        """``[N]`` image id of every row."""
        return np.repeat(self.image_ids, self.num_rows)

    def without_repeats(self) -> Self:
        """Each image once, as it occurs first; distributed samplers repeat images to fill a batch."""
        is_first = np.zeros(len(self.image_ids), dtype=np.bool_)
        is_first[np.unique(self.image_ids, return_index=True)[1]] = True
        keep = np.repeat(is_first, self.num_rows)
        return type(self)(
            image_ids=self.image_ids[is_first],
            num_rows=self.num_rows[is_first],
            boxes_xyxy=self.boxes_xyxy[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
        )

    def check_finite(self) -> None:
        """Raise ``ValueError`` if a box or score is not finite: COCO's code takes a NaN box for a match."""
        is_bad = ~(np.isfinite(self.boxes_xyxy).all(axis=1) & np.isfinite(self.scores))
        if is_bad.any():
            images = np.unique(self.row_image_ids()[is_bad])
            raise ValueError(
                f"detections must have finite boxes and scores, {np.count_nonzero(is_bad)} of {len(is_bad)} "
                f"are not, in {counted(len(images), 'image')}, ids {name_some(images)}; the model has probably diverged"
            )

    def to_categories(self, category_ids: Sequence[int | None]) -> CocoDetections:
        """Replace class indices by category ids.

        Args:
            category_ids: Category of every class of the model; None for a class which stands for none, whose
                detections are counted and left out.

        Raises:
            ValueError: A label is no index of ``category_ids``.
        """
        is_unknown = (self.labels < 0) | (self.labels >= len(category_ids))
        if is_unknown.any():
            raise ValueError(
                f"labels must be class indices in 0..{len(category_ids) - 1}, the length of category_ids, "
                f"got {name_some(np.unique(self.labels[is_unknown]))}"
            )
        is_mapped = np.array([identity is not None for identity in category_ids], dtype=np.bool_)[self.labels]
        lookup = np.array([-1 if identity is None else identity for identity in category_ids], dtype=np.int64)
        corners = self.boxes_xyxy[is_mapped]
        return CocoDetections(
            image_ids=self.row_image_ids()[is_mapped],
            category_ids=lookup[self.labels[is_mapped]],
            boxes_xywh=np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1),
            scores=self.scores[is_mapped],
            num_unmapped=int(np.count_nonzero(~is_mapped)),
        )


def to_coco_results(
    detections: Detections, image_ids: Tensor, *, category_ids: Sequence[int | None]
) -> list[dict[str, Any]]:
    """Detections of a batch as entries of COCO's result file.

    Args:
        detections: Of B images.
        image_ids: ``[B]`` ids in the annotation file.
        category_ids: Category of every class of the model; detections of a class without one (None) are left
            out. ``FlatDetections.to_categories`` counts them.

    Returns:
        ``image_id``, ``category_id``, ``bbox`` (xywh in pixels) and ``score`` of each detection.

    Raises:
        ValueError: A box or score is not finite, or a label is no index of ``category_ids``.
    """
    flat = FlatDetections.from_detections(detections, image_ids)
    flat.check_finite()
    return flat.to_categories(category_ids).records()


def name_some(identities: NDArray[np.int64]) -> str:
    """The first few ids as text."""
    text = ", ".join(str(identity) for identity in identities[:_NUM_NAMED].tolist())
    return f"{text} and {len(identities) - _NUM_NAMED} more" if len(identities) > _NUM_NAMED else text


def _floats(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().cpu().to(torch.float64).numpy()
    return array


def _integers(tensor: Tensor) -> NDArray[np.int64]:
    array: NDArray[np.int64] = tensor.detach().cpu().to(torch.int64).numpy()
    return array
