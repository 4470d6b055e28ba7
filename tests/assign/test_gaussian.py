"""Heat maps: one positive cell for every object, and targets that fall off around it."""

import math
from dataclasses import replace

import pytest
import torch

from deta.assign import GaussianAssigner, Matches, Prediction
from deta.testing import check_assigner
from tests.assign.scenes import Box, assigned, in_pixels, objects

HEIGHT, WIDTH, STRIDE = 8, 10, 4.0


def grid() -> Prediction:
    """Cells of one grid, whose boxes do not matter."""
    count = HEIGHT * WIDTH
    prediction = in_pixels(*[(0.0, 0.0, 1.0, 1.0)] * count, strides=[STRIDE] * count)
    return replace(prediction, grid=((HEIGHT, WIDTH, 1),))


def found(*boxes: Box, radius: str = "mmdet", prediction: Prediction | None = None) -> Matches:
    return assigned(GaussianAssigner(radius=radius), grid() if prediction is None else prediction, objects(boxes))


def cells(matches: Matches) -> dict[tuple[int, int], int]:
    """Object by column and row."""
    target = matches.target[0].view(HEIGHT, WIDTH)
    return {(column, row): int(target[row, column]) for row, column in (target >= 0).nonzero().tolist()}


@pytest.mark.parametrize("radius", ["mmdet", "original"])
def test_the_rule_does_what_every_rule_must(radius: str) -> None:
    # The cells have a fixed order, and one of several objects answers for the last.
    without = ["the_order_of_candidates_does_not_matter", "the_order_of_objects_does_not_matter"]
    if radius == "original":
        without.append("no_candidate_answers_for_two_objects")
    check_assigner(GaussianAssigner(radius=radius), needs=["grid"], without=without)


def test_the_cell_of_the_centre_is_positive_and_alone_where_an_object_is_small() -> None:
    matches = found((14.0, 18.0, 8.0, 8.0))
    assert cells(matches) == {(3, 4): 0}
    assert matches.class_target is not None
    assert matches.class_target.count_nonzero() == 1
    assert matches.class_target[0, 4 * WIDTH + 3, 0] == 1


def test_values_of_a_target_are_those_of_a_normal_distribution_with_a_sixth_of_its_width() -> None:
    matches = found((22.0, 18.0, 40.0, 40.0))
    radius = int(GaussianAssigner().radii(torch.tensor([10.0, 10.0])))
    assert radius == 2
    sigma = (2 * radius + 1) / 6
    assert matches.class_target is not None
    heat = matches.class_target[0, :, 0].view(HEIGHT, WIDTH)
    expected = math.exp(-(1 + 4) / (2 * sigma**2))
    assert heat[4 + 1, 5 + 2].item() == pytest.approx(expected, rel=1e-5)
    assert heat[4, 5 + 3] == 0


def test_a_radius_keeps_the_overlap_of_two_boxes_that_are_moved_by_it() -> None:
    width, height, overlap = 60.0, 40.0, 0.5
    radius = float(GaussianAssigner(min_overlap=overlap).radii(torch.tensor([width, height])))

    def moved(r: float) -> tuple[float, float, float]:
        """IoU with a box moved along both axes, one that lies within, and one around, by r on each side."""
        shared = (width - r) * (height - r)
        within, around = (width - 2 * r) * (height - 2 * r), (width + 2 * r) * (height + 2 * r)
        return shared / (2 * width * height - shared), within / (width * height), width * height / around

    assert min(moved(radius)) >= overlap
    assert min(moved(radius + 1)) < overlap


def test_the_radius_of_the_release_is_the_third_root_of_sides_rounded_up() -> None:
    rule = GaussianAssigner(radius="original")
    width, height = 11.0, 8.0
    expected = (-1.4 * (width + height) + math.sqrt(1.96 * (width + height) ** 2 + 3.36 * width * height)) / 2
    assert int(rule.radii(torch.tensor([10.2, 7.9]))) == int(expected)
    roots = [(19 + math.sqrt(19**2 - 4 * 88 * 0.3 / 1.7)) / 2, (38 + math.sqrt(38**2 - 16 * 0.3 * 88)) / 2]
    assert expected < min(roots)


def test_a_cell_of_two_objects_answers_for_the_last_and_is_contested() -> None:
    matches = found((14.0, 18.0, 16.0, 16.0), (13.0, 17.0, 8.0, 8.0))
    assert cells(matches) == {(3, 4): 1}
    assert matches.notes["contested"].sum() == 1
    assert matches.class_target is not None
    # Each has its class: one positive cell, two entries that are 1.
    assert matches.class_target.eq(1).sum() == 2


def test_targets_of_one_class_are_the_highest_of_its_objects() -> None:
    both = objects([(14.0, 18.0, 40.0, 40.0), (22.0, 18.0, 40.0, 40.0)])
    both = replace(both, labels=torch.zeros_like(both.labels))
    matches = assigned(GaussianAssigner(), grid(), both)
    alone = [found(box).class_target for box in ((14.0, 18.0, 40.0, 40.0), (22.0, 18.0, 40.0, 40.0))]
    assert matches.class_target is not None
    assert alone[0] is not None
    assert alone[1] is not None
    assert torch.equal(matches.class_target, alone[0].maximum(alone[1]))


def test_the_release_leaves_out_a_box_that_is_empty_on_the_grid_and_cuts_the_others_to_the_last_cell() -> None:
    beyond = (39.0, 18.0, 2.0, 8.0)  # columns 9.5 to 10; the last cell is 9
    assert cells(found(beyond)) == {(9, 4): 0}
    assert cells(found(beyond, radius="original")) == {}
    border = (35.0, 18.0, 10.0, 8.0)  # columns 7.5 to 10, cut 7.5 to 9: the centre is 8.25
    assert cells(found(border)) == {(8, 4): 0}
    wide = (32.0, 18.0, 16.0, 8.0)  # columns 6 to 10, cut 6 to 9: the centre is 7.5
    assert cells(found(wide)) == {(8, 4): 0}
    assert cells(found(wide, radius="original")) == {(7, 4): 0}


def test_a_cell_that_may_not_match_has_no_target() -> None:
    may_match = torch.ones(1, HEIGHT * WIDTH, dtype=torch.bool)
    may_match[0, 4 * WIDTH + 3] = False
    matches = found((14.0, 18.0, 40.0, 40.0), prediction=replace(grid(), may_match=may_match))
    assert cells(matches) == {}
    assert matches.class_target is not None
    assert matches.class_target[~may_match].eq(0).all()


@pytest.mark.parametrize("shape", [None, ((8, 8, 1), (4, 4, 1)), ((8, 5, 2),)])
def test_candidates_that_are_not_one_grid_are_refused(shape: tuple[tuple[int, int, int], ...] | None) -> None:
    with pytest.raises(ValueError, match="GaussianAssigner needs candidates that are one grid"):
        found((14.0, 18.0, 8.0, 8.0), prediction=replace(grid(), grid=shape))


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="radius must be one of"):
        GaussianAssigner(radius="paper")
    with pytest.raises(ValueError, match="min_overlap must"):
        GaussianAssigner(min_overlap=1.0)
