"""Objects of an image and the boxes that answer for them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.drawing.boxes import draw_boxes, unpadded
from deta.structures import Batch, Matches, Prediction
from deta.utils.wording import counted


def draw_assigned(
    batch: Batch, prediction: Prediction, matches: Matches, index: int, *, names: Sequence[str], title: str
) -> Tensor:
    """One image of a batch with its objects and, in thin lines of the same colour, the reference boxes of each.

    Args:
        batch: What the detector saw; padding is cut off.
        prediction: Among whose candidates the assignment chose.
        matches: The assignment.
        index: Of the image in the batch.
        names: Name of every class index.
        title: Written above, followed by the number of boxes.

    Returns:
        ``[3, H', W']`` uint8 RGB; each object is named with its class and its number of boxes.
    """
    image, size = unpadded(batch, index)
    is_object = batch.targets.is_object[index]
    pairs = matches.pairs()
    candidate, owner = pairs[pairs[:, 0] == index, 1:].unbind(1)
    objects = batch.targets.boxes[index, is_object]
    numbers = owner.bincount(minlength=len(objects)).tolist()
    labels = batch.targets.labels[index, is_object].tolist()
    boxes = torch.cat((objects.float(), prediction.priors[index, candidate].float()))
    return draw_boxes(
        image,
        box_convert(boxes, "cxcywh", "xyxy") * size,
        torch.cat((torch.arange(len(objects), device=owner.device), owner)),
        names=[f"{names[label]}: {number}" for label, number in zip(labels, numbers, strict=True)],
        is_named=torch.arange(len(boxes)) < len(objects),
        title=f"{title} ({counted(len(owner), 'box', 'boxes')})",
    )
