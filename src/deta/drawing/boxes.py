"""Boxes drawn into images: detections beside what should have been found."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.ops import box_convert

from deta.structures import Batch, Detections
from deta.utils.files import written_at_once

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

_BACKGROUND: Colour = (24, 24, 24)
_IGNORE: Colour = (225, 225, 225)
_MIN_SIDE = 360
"""Smaller pictures are enlarged to this shorter side, in pixels, so that labels can be read ..."""
_MAX_SIDE = 4000
"""... but not beyond this longer side."""
_PALE = 0.4
"""How much a pale line covers, 0..1."""
_GOLDEN_RATIO = 0.618034
"""Steps of this part of the hue circle keep neighbouring class indices apart, however many there are."""


def class_colour(label: int) -> Colour:
    """Colour of a class index: bright, always the same, different from that of its neighbours."""
    brightness = (1.0, 0.8, 0.9)[label % 3]
    red, green, blue = colorsys.hsv_to_rgb((label * _GOLDEN_RATIO) % 1.0, 0.8, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    image: Tensor,
    boxes_xyxy: Tensor,
    labels: Tensor,
    *,
    names: Sequence[str],
    scores: Tensor | None = None,
    is_named: Tensor | None = None,
    is_pale: Tensor | None = None,
    ignore_xyxy: Tensor | None = None,
    title: str = "",
) -> Tensor:
    """Draw boxes with their class and score; the best lie on top, without scores the first.

    Args:
        image: ``[3, H, W]`` uint8 RGB; not changed.
        boxes_xyxy: ``[N, 4]`` in pixels of ``image``.
        labels: ``[N]`` class indices.
        names: Name of every class index.
        scores: ``[N]`` in 0..1, written with two decimals; None for ground truth.
        is_named: ``[N]`` bool, False draws the box with a thin line and without its class; None names all.
        is_pale: ``[N]`` bool, True draws the box in a thin pale line below all others, without its class.
        ignore_xyxy: ``[I, 4]`` areas which are not annotated, hatched.
        title: Written above the picture, if any.

    Returns:
        ``[3, H', W']`` uint8 RGB, enlarged if ``image`` is small, higher by a title.

    Raises:
        ValueError: The image is not uint8 RGB, a box is not finite or a label has no name.
    """
    _check(image, boxes_xyxy, labels, names)
    factor = max(1.0, min(_MIN_SIDE / min(image.shape[1:]), _MAX_SIDE / max(image.shape[1:])))
    picture = to_pil(image)
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    canvas = _Canvas(picture)
    if ignore_xyxy is not None:
        for box in _rectangles(ignore_xyxy, factor, picture):
            canvas.hatch(box)
    rows = list(zip(_rectangles(boxes_xyxy, factor, picture), labels.tolist(), strict=True))
    best_first = list(range(len(rows)) if scores is None else scores.argsort(descending=True, stable=True).tolist())
    if is_pale is not None:
        canvas.veil(
            [(box, class_colour(label)) for (box, label), pale in zip(rows, is_pale.tolist(), strict=True) if pale]
        )
        best_first = [index for index in best_first if not is_pale[index]]
    labelled = []
    for index in reversed(best_first):
        box, label = rows[index]
        is_thin = is_named is not None and not bool(is_named[index])
        canvas.outline(box, class_colour(label), is_thin=is_thin)
        if not is_thin:
            text = names[label] if scores is None else f"{names[label]} {float(scores[index]):.2f}"
            labelled.append((box, text, class_colour(label)))
    canvas.write(labelled[::-1])
    return from_pil(_titled(picture, title, canvas.font) if title else picture)


def compare(
    batch: Batch, detections: Detections, index: int, *, names: Sequence[str], min_score: float = 0.3
) -> Tensor:
    """One image of a batch with its detections (left) and its ground truth (right).

    Args:
        batch: What the detector saw; padding is cut off.
        detections: Its answer, in pixels of the original images.
        index: Of the image in the batch.
        names: Name of every class index.
        min_score: Detections below it are drawn pale; the title says how many there are.

    Returns:
        ``[3, H', W']`` uint8 RGB.
    """
    image, size = unpadded(batch, index)
    original_size = batch.original_sizes[index].flip(0).repeat(2)
    found = detections.is_detection[index]
    scores = detections.scores[index][found]
    is_pale = scores < min_score
    num_pale = int(is_pale.sum())
    targets = batch.targets.map(lambda tensor: tensor[index : index + 1])
    left = draw_boxes(
        image,
        detections.boxes[index][found].float() * (size / original_size),
        detections.labels[index][found],
        names=names,
        scores=scores,
        is_pale=is_pale,
        title=f"detections: {len(scores) - num_pale} from {min_score:.2f}, {num_pale} below",
    )
    right = draw_boxes(
        image,
        box_convert(targets.boxes[targets.is_object], "cxcywh", "xyxy") * size,
        targets.labels[targets.is_object],
        names=names,
        ignore_xyxy=box_convert(targets.ignore_boxes[targets.is_ignore], "cxcywh", "xyxy") * size,
        title="ground truth",
    )
    return contact_sheet([left, right], columns=2)


def unpadded(batch: Batch, index: int) -> tuple[Tensor, Tensor]:
    """An image of a batch without its padding, and ``[4]`` its width, height, width, height in pixels."""
    is_image = ~batch.is_padding[index]
    height, width = int(is_image.any(dim=1).sum()), int(is_image.any(dim=0).sum())
    image = batch.images[index, :, :height, :width]
    return image, image.new_tensor([width, height, width, height], dtype=torch.float32)


def contact_sheet(pictures: Sequence[Tensor], *, columns: int, cell_width: int | None = None, gap: int = 8) -> Tensor:
    """Pictures in rows, from left to right.

    Args:
        pictures: ``[3, H, W]`` uint8 RGB each, of any size; at least one.
        columns: Pictures in a row, at least 1.
        cell_width: Every picture is scaled to this width in pixels; None keeps their size.
        gap: Pixels between pictures.

    Returns:
        ``[3, H', W']`` uint8 RGB.
    """
    if not pictures or columns < 1:
        raise ValueError(
            f"a contact sheet needs a picture and a column, got {len(pictures)} pictures, {columns} columns"
        )
    cells = [to_pil(picture) for picture in pictures]
    if cell_width is not None:
        cells = [cell.resize((cell_width, max(1, round(cell.height * cell_width / cell.width)))) for cell in cells]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = max(cell.width for cell in cells)
    heights = [max(cell.height for cell in row) for row in rows]
    num_columns = min(columns, len(cells))
    sheet = Image.new("RGB", ((width + gap) * num_columns - gap, sum(heights) + gap * (len(rows) - 1)), _BACKGROUND)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * (width + gap), top))
        top += height + gap
    return from_pil(sheet)


def save_picture(picture: Tensor, path: Path) -> None:
    """Write ``[3, H, W]`` uint8 RGB to a file, in the format of its ending."""
    with written_at_once(path) as file:
        to_pil(picture).save(file, format=Image.registered_extensions()[path.suffix.lower()])


def to_pil(picture: Tensor) -> Image.Image:
    """``[3, H, W]`` uint8 RGB as a PIL image of its own memory."""
    return Image.fromarray(picture.permute(1, 2, 0).cpu().contiguous().numpy().copy())


def from_pil(image: Image.Image) -> Tensor:
    """A PIL image as ``[3, H, W]`` uint8 RGB."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


class _Canvas:
    """A picture that boxes and labels are drawn into."""

    def __init__(self, picture: Image.Image) -> None:
        self.font = ImageFont.load_default(max(13, round(min(picture.size) / 34)))
        self._picture = picture
        self._draw = ImageDraw.Draw(picture)
        self._line_width = max(2, round(min(picture.size) / 240))

    def outline(self, box: Rectangle, colour: Colour, *, is_thin: bool = False) -> None:
        self._draw.rectangle(box, outline=colour, width=1 if is_thin else self._line_width)

    def veil(self, boxes: Sequence[tuple[Rectangle, Colour]]) -> None:
        """Thin outlines through which the picture is seen."""
        drawn = self._picture.copy()
        for box, colour in boxes:
            ImageDraw.Draw(drawn).rectangle(box, outline=colour, width=1)
        self._picture.paste(Image.blend(self._picture, drawn, _PALE))

    def hatch(self, box: Rectangle) -> None:
        """Diagonal lines inside a dashed border."""
        left, top, right, bottom = (round(value) for value in box)
        width, height, step = right - left + 1, bottom - top + 1, 6 * self._line_width
        mask = Image.new("L", (width, height))
        lines = ImageDraw.Draw(mask)
        for start in range(-height, width, step):
            lines.line((start, height, start + height, 0), fill=110, width=1)
        for x in range(0, width, 2 * step):
            for y in (0, height - self._line_width):
                lines.rectangle((x, y, x + step, y + self._line_width - 1), fill=255)
        for y in range(0, height, 2 * step):
            for x in (0, width - self._line_width):
                lines.rectangle((x, y, x + self._line_width - 1, y + step), fill=255)
        self._picture.paste(_IGNORE, (left, top), mask)

    def write(self, labels: Sequence[tuple[Rectangle, str, Colour]]) -> None:
        """Write texts at their boxes; the first choose their place first and lie on top."""
        places: list[Rectangle] = []
        for box, text, _ in labels:
            places.append(self._place(box, text, places))
        for place, (_, text, colour) in reversed(list(zip(places, labels, strict=True))):
            left, top, _, _ = self.font.getbbox(text)
            ink = (0, 0, 0) if _luminance(colour) > 140 else (255, 255, 255)
            self._draw.rectangle(place, fill=colour)
            self._draw.text((place[0] + 2 - left, place[1] + 2 - top), text, fill=ink, font=self.font)

    def _place(self, box: Rectangle, text: str, taken: Sequence[Rectangle]) -> Rectangle:
        """Above, inside, below or right in the box, where the text hides the least of other labels."""
        left, top, right, bottom = self.font.getbbox(text)
        width, height = right - left + 4, bottom - top + 4
        corners = ((box[0], box[1] - height), (box[0], box[1]), (box[0], box[3]), (box[2] - width, box[1]))
        places = [self._moved_inside(x, y, width, height) for x, y in corners]
        return min(places, key=lambda place: sum(_overlap(place, other) for other in taken))

    def _moved_inside(self, x: float, y: float, width: float, height: float) -> Rectangle:
        x = max(0.0, min(x, self._picture.width - 1 - width))
        y = max(0.0, min(y, self._picture.height - 1 - height))
        return x, y, x + width, y + height


def _check(image: Tensor, boxes_xyxy: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] != 3:
        raise ValueError(f"image must be uint8 [3, H, W], got {image.dtype} {tuple(image.shape)}")
    num_bad = int((~torch.isfinite(boxes_xyxy)).any(dim=1).sum())
    if num_bad:
        raise ValueError(f"boxes_xyxy must be finite, {num_bad} of {len(boxes_xyxy)} are not")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        raise ValueError(f"labels must be indices of the {len(names)} names, got {labels.unique().tolist()}")


def _rectangles(boxes_xyxy: Tensor, factor: float, picture: Image.Image) -> list[Rectangle]:
    """Corners in pixels of the enlarged picture, cut at its border."""
    limit = boxes_xyxy.new_tensor([picture.width - 1, picture.height - 1] * 2, dtype=torch.float32)
    corners = (boxes_xyxy.float() * factor).clamp(min=0).minimum(limit).tolist()
    return [(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)) for x0, y0, x1, y1 in corners]


def _titled(picture: Image.Image, title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    _, top, _, bottom = font.getbbox("Ay")
    strip = round(bottom - top) + 10
    titled = Image.new("RGB", (picture.width, picture.height + strip), _BACKGROUND)
    titled.paste(picture, (0, strip))
    ImageDraw.Draw(titled).text((5, 5 - top), title, fill=(255, 255, 255), font=font)
    return titled


def _overlap(first: Rectangle, second: Rectangle) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def _luminance(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
