"""What the numbers of annotations betray: boxes that can be read but were probably meant otherwise."""

import numpy as np
from numpy.typing import NDArray

from deta.utils.wording import counted

_TOLERANCE = 1.0
"""Pixels that a sound box may reach beyond its image, by rounding."""
_NEARLY_ALL = 0.99
_MANY = 0.05
"""Share of the boxes beyond their image from which something is wrong with all of them."""
_FEWEST_PER_CENT = 10
"""Boxes from which it is no chance that all lie within 0..100."""
_EXCESS = 2
"""An area is larger than its box by far from this multiple on, a pixel of rounding on each side allowed for."""
_EXCESS_ROUNDED = 4
"""And from this multiple on, which no rounding explains."""


def box_doubts(
    boxes_xywh: NDArray[np.float64], sizes: NDArray[np.int64], areas: NDArray[np.float64]
) -> tuple[str, ...]:
    """One line for each way in which the boxes are probably not what COCO's layout means.

    Args:
        boxes_xywh: ``[A, 4]`` as in the file, in pixels if they are right.
        sizes: ``[A, 2]`` ``(height, width)`` of the image of each box.
        areas: ``[A]`` as in the file.
    """
    has_area = (boxes_xywh[:, 2:] > 0).all(axis=1)
    boxes, sides, areas = boxes_xywh[has_area], sizes[has_area].astype(np.float64), areas[has_area]
    if not len(boxes):
        return ()
    found = (_unit_doubt(boxes, sides), _form_doubt(boxes, sides, areas), *_area_doubts(boxes, areas))
    return tuple(line for line in found if line)


def _unit_doubt(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> str:
    num, num_small = len(boxes), int((np.abs(boxes).max(axis=1) <= 1).sum())
    if num_small:
        return (
            f"{num_small} of {counted(num, 'box has', 'boxes have')} no number above 1: they look normalised by the "
            "size of the image, boxes must be in pixels"
        )
    if num >= _FEWEST_PER_CENT and (boxes[:, :2] + boxes[:, 2:]).max() <= 100 and sizes.min() >= 200:
        return f"all {num} boxes lie within 0..100 in larger images: they look like per cent, boxes must be in pixels"
    return ""


def _form_doubt(boxes: NDArray[np.float64], sizes: NDArray[np.float64], areas: NDArray[np.float64]) -> str:
    start, second, width_height = boxes[:, :2], boxes[:, 2:], sizes[:, ::-1]
    num, num_beyond = len(boxes), int((~_fits(start, start + second, width_height)).sum())
    beyond = f"{num_beyond} of {counted(num, 'box reaches', 'boxes reach')} beyond their image"
    could_be_corners = _nearly_all((second > start).all(axis=1) & _fits(start, second, width_height))
    span = (second - start).clip(min=0).prod(axis=1)
    tells_corners = _nearly_all(np.isclose(areas, span, rtol=0.01)) and not _nearly_all(
        np.isclose(areas, second.prod(axis=1), rtol=0.01)
    )
    if could_be_corners and (num_beyond >= _MANY * num or tells_corners):
        reason = beyond if num_beyond else "their areas say so"
        return f"boxes look like two corners [x0, y0, x1, y1] ({reason}), they must be [x, y, width, height]"
    if num_beyond < _MANY * num:
        return ""
    if _nearly_all(_fits(start - second / 2, start + second / 2, width_height)):
        return (
            f"boxes look like [centre x, centre y, width, height] ({beyond}), they must start with their upper "
            "left corner"
        )
    if _nearly_all(_fits(start, start + second, sizes)):
        return f"height and width of the images look exchanged ({beyond}, and would not if they were)"
    return f"{beyond}: look whether they belong to images of this size"


def _area_doubts(boxes: NDArray[np.float64], areas: NDArray[np.float64]) -> tuple[str, ...]:
    own = boxes[:, 2:].prod(axis=1)
    num_large = int((areas > np.minimum(_EXCESS * (boxes[:, 2:] + 1).prod(axis=1), _EXCESS_ROUNDED * own)).sum())
    num_zero = int((areas == 0).sum())
    large, zero = (counted(number, "annotation has", "annotations have") for number in (num_large, num_zero))
    return (
        f"{large} an area of more than {_EXCESS} times their box" if num_large else "",
        f"{zero} the area 0 but a box with one: counted as small" if num_zero else "",
    )


def _fits(low: NDArray[np.float64], high: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((low >= -_TOLERANCE) & (high <= limits + _TOLERANCE)).all(axis=1))


def _nearly_all(is_so: NDArray[np.bool_]) -> bool:
    return bool(is_so.mean() >= _NEARLY_ALL)
