"""Contact sheets of annotated samples, before and after augmentation."""

from collections.abc import Sequence

from torch import Tensor

from deta.data.dataset import CocoDataset
from deta.data.sample import Sample, SampleKey
from deta.drawing.boxes import contact_sheet, draw_boxes
from deta.utils.wording import counted

_CELL_WIDTH = 480


def sample_sheet(dataset: CocoDataset, indices: Sequence[int], *, epochs: Sequence[int]) -> Tensor:
    """One row per image: as annotated, then as the training sees it in each of these epochs.

    Args:
        dataset: Reads and augments; the same key gives the same sample as in a training with its seed.
        indices: Positions of the images in the data set; at least one.
        epochs: Whose augmentation is shown, from 0.

    Returns:
        ``[3, H, W]`` uint8 RGB.
    """
    names = dataset.annotations.categories.names
    pictures = []
    for index in indices:
        sample = dataset.untransformed(index)
        pictures.append(_draw(sample, names, f"image {sample.image_id}"))
        for epoch in epochs:
            pictures.append(_draw(dataset[SampleKey(epoch, index)], names, f"epoch {epoch}"))
    return contact_sheet(pictures, columns=1 + len(epochs), cell_width=_CELL_WIDTH)


def _draw(sample: Sample, names: Sequence[str], title: str) -> Tensor:
    height, width = sample.size
    objects = counted(len(sample.boxes), "object")
    return draw_boxes(
        sample.image,
        sample.boxes,
        sample.labels,
        names=names,
        ignore_xyxy=sample.ignore_boxes,
        title=f"{title}: {width} x {height}, {objects}",
    )
