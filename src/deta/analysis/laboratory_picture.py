"""One image with what every rule of the laboratory gives its objects."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torchvision.ops import box_convert

from deta.analysis.laboratory import Assigned, Contender, Laboratory
from deta.data.sample import Sample
from deta.drawing.candidates import Panel, candidates_figure


def laboratory_picture(laboratory: Laboratory, index: int, sample: Sample, names: Sequence[str]) -> Figure:
    """A picture for every rule.

    Args:
        laboratory: Its rules, objects and candidates.
        index: Of the image among its annotations.
        sample: That image as its file gives it.
        names: Of the rules.
    """
    found = zip(names, laboratory.contenders, laboratory.look(index), strict=True)
    height, width = sample.size
    panels = [_panel(name, contender, assigned, width=width, height=height) for name, contender, assigned in found]
    title = f"image {sample.image_id}: {width} x {height}"
    return candidates_figure(sample.image, sample.boxes, panels, title=title)


def _panel(name: str, contender: Contender, assigned: Assigned, *, width: int, height: int) -> Panel:
    prediction, targets, matches = assigned
    _, candidate, owner = matches.pairs().unbind(1)
    unit = targets.frame() if prediction.frame is None else torch.ones(1, 4)
    boxes = prediction.priors[0, candidate] / unit * torch.tensor([width, height, width, height])  # [M, 4]
    strides = prediction.strides if contender.candidates.is_point else None
    strides = None if strides is None else strides[candidate]
    return Panel(name, box_convert(boxes, "cxcywh", "xyxy"), owner, strides)
