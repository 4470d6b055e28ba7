"""What was found in an image."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, overload

import torch
from PIL import Image
from torch import Tensor

from deta.data.images import ImageRules
from deta.drawing.boxes import draw_boxes, to_pil
from deta.inference.pictures import Picture
from deta.utils.checks import require_number
from deta.utils.names import shown

DEFAULT_SCORE = 0.3
"""Detections below it are not told unless another one is asked for."""


@dataclass(frozen=True)
class Box:
    """A detection.

    Attributes:
        name: Of its class.
        label: Class index of the model.
        category_id: Id of the category in the annotation file that the model was trained with.
        score: 0..1.
        xyxy: Corners in pixels of the image, inside of it.
    """

    name: str
    label: int
    category_id: int
    score: float
    xyxy: tuple[float, float, float, float]

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """Left, top, width and height in pixels."""
        left, top, right, bottom = self.xyxy
        return left, top, right - left, bottom - top


@dataclass(frozen=True, eq=False, repr=False)
class Result(Sequence[Box]):
    """The detections in one image, best first; as a sequence those that reach ``min_score``.

    Attributes:
        picture: Where the image comes from.
        size: ``(height, width)`` of the image in pixels.
        all_boxes: ``[D, 4]`` float32 ``xyxy`` in pixels of every detection, as the evaluation takes them: they may
            leave the image.
        all_scores: ``[D]`` float32 in 0..1, descending.
        all_labels: ``[D]`` int64 class index.
        names: Name of every class index.
        category_ids: Category of every class index; None for one that stands for none.
        min_score: Score from which a detection is told, 0..1.
        rules: How the image was read.
        orientation: What became of its EXIF orientation, see ``DecodedImage``.
        num_unmapped: Detections left out because their class stands for no category.
        kept_pixels: ``[3, H, W]`` uint8 RGB; None where the image is to be read again.
    """

    picture: Picture
    size: tuple[int, int]
    all_boxes: Tensor
    all_scores: Tensor
    all_labels: Tensor
    names: tuple[str, ...]
    category_ids: tuple[int | None, ...]
    min_score: float
    rules: ImageRules
    orientation: str = "none"
    num_unmapped: int = 0
    kept_pixels: Tensor | None = None

    @property
    def name(self) -> str:
        """Path, address or number of the image."""
        return self.picture.name

    @property
    def path(self) -> Path | None:
        """File of the image, if it is one."""
        return self.picture.path

    @property
    def num_detections(self) -> int:
        """All detections, whatever their score."""
        return len(self.all_scores)

    @property
    def best_score(self) -> float | None:
        """The highest score of all; None without a detection."""
        return float(self.all_scores[0]) if self.num_detections else None

    @property
    def boxes(self) -> Tensor:
        """``[N, 4]`` float32 ``xyxy`` of the detections that are told, in pixels, inside the image."""
        height, width = self.size
        limit = self.all_boxes.new_tensor([width, height, width, height])
        return self.all_boxes[: len(self)].clamp(min=0).minimum(limit)

    @property
    def scores(self) -> Tensor:
        """``[N]`` float32 scores of these."""
        return self.all_scores[: len(self)]

    @property
    def labels(self) -> Tensor:
        """``[N]`` int64 class indices of these."""
        return self.all_labels[: len(self)]

    def at(self, min_score: float) -> Self:
        """The same detections, told from another score on."""
        return replace(self, min_score=require_number("min_score", min_score, low=0, high=1))

    def __len__(self) -> int:
        return int((self.all_scores >= self.min_score).sum())

    @overload
    def __getitem__(self, index: int) -> Box: ...

    @overload
    def __getitem__(self, index: slice) -> list[Box]: ...

    def __getitem__(self, index: int | slice) -> Box | list[Box]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Box]:
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        for (left, top, right, bottom), score, label in rows:
            identity = self.category_ids[label]
            assert identity is not None
            yield Box(self.names[label], label, identity, score, (left, top, right, bottom))

    def __str__(self) -> str:
        lines = [f"{shown(box.name)} {box.score:.2f}  {' '.join(f'{value:.1f}' for value in box.xyxy)}" for box in self]
        return "\n".join([f"{shown(self.name)}: {self.summary()}", *lines])

    __repr__ = __str__

    def summary(self) -> str:
        """How many detections reach ``min_score``, and where none does the best score."""
        return told_of(len(self), self.num_detections, self.min_score, self.best_score)

    def pixels(self) -> Tensor:
        """``[3, H, W]`` uint8 RGB of the image.

        Raises:
            ImageError: Its file has gone or changed its form.
            ValueError: It was a frame of a video, which nobody has kept.
        """
        return self.picture.read(self.rules).pixels if self.kept_pixels is None else self.kept_pixels

    def draw(self) -> Image.Image:
        """The image with its boxes, classes and scores; small images are enlarged."""
        return to_pil(draw_boxes(self.pixels(), self.boxes, self.labels, names=self.names, scores=self.scores))

    def crops(self) -> list[Image.Image]:
        """What every box holds, of at least one pixel each."""
        image, (height, width) = to_pil(self.pixels()), self.size
        found = []
        for box in self:
            left, top = min(int(box.xyxy[0]), width - 1), min(int(box.xyxy[1]), height - 1)
            right, bottom = max(left + 1, round(box.xyxy[2])), max(top + 1, round(box.xyxy[3]))
            found.append(image.crop((left, top, min(right, width), min(bottom, height))))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: image, size in pixels and boxes with class names."""
        height, width = self.size
        place = {} if self.picture.frame is None else {"frame": self.picture.frame, "seconds": self.picture.seconds}
        boxes = [
            {
                "name": box.name,
                "label": box.label,
                "category_id": box.category_id,
                "score": box.score,
                "xyxy": list(box.xyxy),
            }
            for box in self
        ]
        return {"image": self.name, **place, "height": height, "width": width, "boxes": boxes}

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Entries of COCO's result file, boxes as the evaluation takes them.

        Args:
            image_id: Of the image in an annotation file.
        """
        corners = self.all_boxes[: len(self)].double()
        boxes = torch.cat((corners[:, :2], corners[:, 2:] - corners[:, :2]), dim=1)  # [N, 4]
        rows = zip(boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        return [
            {"image_id": image_id, "category_id": self.category_ids[label], "bbox": box, "score": score}
            for box, score, label in rows
        ]

    def _repr_png_(self) -> bytes:
        """The picture in a notebook."""
        content = io.BytesIO()
        self.draw().save(content, format="PNG")
        return content.getvalue()


def told_of(number: int, total: int, min_score: float, best: float | None) -> str:
    """Such as ``3 of 100 boxes reach 0.3`` and ``0 of 6,000 boxes reach 0.3, best 0.26``."""
    text = f"{number:,} of {total:,} boxes reach {min_score:g}"
    return text if number or best is None else f"{text}, best {best:.2g}"
