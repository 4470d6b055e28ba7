"""Pictures of what rules give to objects."""

import torch
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle

from deta.drawing.candidates import Panel, candidates_figure

IMAGE = torch.zeros(3, 60, 100, dtype=torch.uint8)
OBJECTS = torch.tensor([[10.0, 10, 30, 30], [50, 20, 70, 50]])


def test_boxes_have_the_colour_of_their_object_which_is_dashed_without_one() -> None:
    boxes = torch.tensor([[8.0, 8, 28, 28], [12, 12, 32, 32]])
    (axes,) = candidates_figure(IMAGE, OBJECTS, [Panel("atss", boxes, torch.tensor([0, 0]))]).axes
    assert axes.get_title(loc="left") == "atss: 2 positives, 1 object without"
    drawn = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [list(patch.get_bbox().extents) for patch in drawn] == [*boxes.tolist(), *OBJECTS.tolist()]
    colours = [patch.get_edgecolor()[:3] for patch in drawn]
    assert colours[0] == colours[1] == colours[2] != colours[3]
    assert [patch.get_linestyle() for patch in drawn[2:]] == ["-", "--"]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 100), (60, 0))


def test_points_lie_in_the_centres_and_grow_with_the_stride() -> None:
    boxes = torch.tensor([[8.0, 8, 28, 28], [52, 22, 68, 38]])
    panel = Panel("fcos", boxes, torch.tensor([0, 1]), strides=torch.tensor([8.0, 16.0]))
    (axes,) = candidates_figure(IMAGE, OBJECTS, [panel]).axes
    assert axes.get_title(loc="left") == "fcos: 2 positives"
    (points,) = [part for part in axes.collections if isinstance(part, PathCollection)]
    assert torch.tensor(points.get_offsets()).tolist() == [[60, 30], [18, 18]]  # the larger below
    large, small = points.get_sizes()
    assert small < large


def test_every_rule_has_a_panel_on_white_and_an_image_without_objects_is_drawn() -> None:
    nothing = Panel("iou", torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    figure = candidates_figure(IMAGE, torch.zeros(0, 4), [nothing] * 5)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["iou: 0 positives"] * 5 + [""] * 3
    assert figure.get_facecolor() == (1, 1, 1, 1)
