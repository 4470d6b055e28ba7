"""Dense bodies and their parts."""

from functools import partial
from typing import Any

import pytest
import torch

from deta.losses import DistributionFocalLoss, WeightedGIoULoss
from deta.models import (
    DecoupledHead,
    DeltaCodec,
    DenseBody,
    DenseHead,
    DistanceCodec,
    DistributionCodec,
    GridPriors,
    HeadShape,
)
from deta.models.postprocess import PerLevelNMS
from deta.structures import Features, Matches, Prediction, Targets
from tests.assign.scenes import objects
from tests.models.tiny import levels

WIDTH = 16


def features() -> Features:
    """Two levels of strides 8 and 16; the second image is 24 pixels high and 40 wide."""
    masks = []
    for stride in (8, 16):
        mask = torch.zeros(2, 64 // stride, 96 // stride, dtype=torch.bool)
        mask[1, -(-24 // stride) :] = True
        mask[1, :, -(-40 // stride) :] = True
        masks.append(mask)
    return levels(masks, hidden_dim=WIDTH)


def body(**options: Any) -> DenseBody:  # noqa: ANN401 - passed on
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "priors": GridPriors(scales=[4.0, 6.0], ratios=[0.5, 1.0, 2.0]),
        "codec": DeltaCodec(),
        "head": partial(DenseHead, num_convs=1),
        "hidden_dim": WIDTH,
    }
    return DenseBody(num_classes=3, channels=(WIDTH, WIDTH), **{**arguments, **options})


def test_boxes_start_at_their_priors_and_classes_at_one_percent() -> None:
    model = body(head=partial(DenseHead, num_convs=0))
    head = model.head
    assert isinstance(head, DenseHead)
    for part in (head.class_logits, head.box_code):
        torch.nn.init.zeros_(part.weight)
    (stage,) = model(features()).stages.values()
    torch.testing.assert_close(stage.boxes, stage.priors)
    torch.testing.assert_close(stage.logits.sigmoid(), torch.full_like(stage.logits, 0.01))


def test_candidates_of_a_cell_stand_together_and_rows_follow_each_other() -> None:
    (stage,) = body()(features()).stages.values()
    assert stage.grid == ((8, 12, 6), (4, 6, 6))
    assert stage.num_candidates == 6 * (8 * 12 + 4 * 6)
    priors = stage.priors[0, : 6 * 8 * 12].view(8, 12, 6, 4)
    assert torch.equal(priors[2, 5, :, :2], torch.tensor([40.0, 16.0]).expand(6, 2))
    ratios = priors[0, 0, :, 3] / priors[0, 0, :, 2]
    torch.testing.assert_close(ratios, torch.tensor([0.5, 0.5, 1.0, 1.0, 2.0, 2.0]))
    areas = priors[0, 0, :, 2:].prod(-1).sqrt()
    torch.testing.assert_close(areas, torch.tensor([32.0, 48.0]).repeat(3))
    assert stage.levels.bincount().tolist() == [6 * 96, 6 * 24]
    assert stage.strides.unique().tolist() == [8.0, 16.0]


def test_a_step_of_the_grid_is_the_floor_of_the_padded_side_over_the_map() -> None:
    padded = Features(
        maps=(torch.zeros(1, WIDTH, 3, 5),),
        is_padding=(torch.zeros(1, 3, 5, dtype=torch.bool),),
        strides=(16,),
        image_sizes=torch.tensor([[50.0, 70.0]]),
        padded_size=(50, 70),
    )
    (by_grid,) = GridPriors(scales=[1.0], step="grid")(padded)
    (by_stride,) = GridPriors(scales=[1.0])(padded)
    assert by_grid[-1, :2].tolist() == [4 * (70 // 5), 2 * (50 // 3)]
    assert by_stride[-1, :2].tolist() == [64, 32]


def test_corners_are_rounded_halves_to_even() -> None:
    priors = GridPriors(sizes=[[5.0, 7.0]], rounded=True)
    (level,) = priors(Features((torch.zeros(1, 1, 1, 1),), (torch.zeros(1, 1, 1) > 0,), (8,), torch.full((1, 2), 8.0)))
    assert level[:, 2].tolist() == [4.0, 8.0]  # 2.5 becomes 2, 3.5 becomes 4


def test_cells_beyond_the_own_padding_of_an_image_may_not_match() -> None:
    (stage,) = body(own_multiple=32)(features()).stages.values()
    may_match = stage.may_match[:, : 6 * 96].view(2, 8, 12, 6).all(-1)
    assert may_match[0].all()
    assert may_match[1].sum() == 4 * 8  # 24 x 40 is padded to 32 x 64
    assert body()(features()).final.may_match is None


def test_what_detects_is_relative_to_the_image() -> None:
    output = body()(features())
    (stage,) = output.stages.values()
    assert stage.frame is None
    torch.testing.assert_close(output.final.boxes[1] * torch.tensor([40.0, 24.0, 40.0, 24.0]), stage.boxes[1])
    assert output.final.in_pixels().frame is None


def test_levels_of_other_widths_need_a_head_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"must make all levels 16 channels wide"):
        DenseBody(num_classes=3, channels=(16, 24), priors=GridPriors(scales=[1.0]), codec=DeltaCodec(), hidden_dim=16)
    head = DecoupledHead(HeadShape((16, 24), num_classes=3, per_cell=1, code_size=4, hidden_dim=8), num_convs=1)
    logits, code, quality = head([torch.zeros(2, 16, 4, 4), torch.zeros(2, 24, 2, 2)])
    assert logits.shape == (2, 20, 3)
    assert code.shape == (2, 20, 4)
    assert quality is not None
    assert quality.shape == (2, 20)


def test_logarithms_of_sides_are_limited_from_above_and_where_asked_from_below() -> None:
    priors, strides = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([8.0])
    code = torch.tensor([[[0.0, 0.0, 9.0, -9.0]]])
    for both, low in ((False, 8 * torch.tensor(-9.0).exp()), (True, torch.tensor(8 * 16 / 1000))):
        box = DeltaCodec(both=both)(code, priors, strides)[0, 0]
        torch.testing.assert_close(box[2:], torch.stack((torch.tensor(8 * 1000 / 16), low)))


def test_a_corner_as_origin_shifts_by_half_a_side() -> None:
    priors, strides = torch.tensor([[12.0, 20.0, 8.0, 8.0]]), torch.tensor([8.0])
    box = DeltaCodec(origin="corner")(torch.full((1, 1, 4), 0.0), priors, strides)
    assert box[0, 0].tolist() == [8.0, 16.0, 8.0, 8.0]


def test_distances_and_their_distribution_give_the_same_box() -> None:
    priors, strides = torch.tensor([[40.0, 32.0, 64.0, 64.0]]), torch.tensor([8.0])
    distances = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    expected = DistanceCodec(unit="stride")(distances, priors, strides)
    peaks = torch.nn.functional.one_hot(distances.long(), 6).float() * 1000
    found = DistributionCodec(bins=6)(peaks.flatten(2), priors, strides)
    torch.testing.assert_close(found, expected)
    assert expected[0, 0].tolist() == [48.0, 40.0, 32.0, 48.0]


def scene() -> tuple[Prediction, Matches, Targets]:
    """One image with an object, of which the only candidate lies so far off its centre that it counts little."""
    targets = objects([(0.5, 0.5, 0.4, 0.4)]).in_pixels()
    priors = targets.boxes[:, :1] + torch.tensor([0.4, 0.0, 0.0, 0.0]) * targets.boxes[:, :1, 2:3]
    code = torch.zeros(1, 1, 4 * 5)
    prediction = Prediction(torch.full((1, 1, 3), -3.0), priors.clone(), priors, strides=torch.tensor([8.0]), code=code)
    return prediction, Matches(torch.zeros(1, 1, dtype=torch.int64)), targets


@pytest.mark.parametrize("by", ["centerness", "score"])
def test_the_sum_of_weights_counts_at_least_one(by: str) -> None:
    prediction, matches, targets = scene()
    measured = WeightedGIoULoss(by=by)(prediction, matches, targets)
    assert measured.divisor is not None
    assert 0 < float(measured.divisor) < 1
    assert measured.floor == 1


def test_distances_beyond_the_last_bin_count_as_just_below_it() -> None:
    prediction, matches, targets = scene()
    measured = DistributionFocalLoss(bins=5)(prediction, matches, targets)
    logs = torch.zeros(5).log_softmax(0)
    assert measured.value.isfinite().all()
    assert measured.divisor is not None
    torch.testing.assert_close(
        measured.value / measured.divisor, -logs[:1]
    )  # a flat distribution costs the same anywhere


@pytest.mark.parametrize("width", [0.0, 1e-3])
def test_boxes_without_a_side_inside_the_image_are_left_out_where_asked(width: float) -> None:
    # The first one begins where the image ends or just before, the second one lies inside.
    boxes = torch.tensor([[[1.0625 - width, 0.5, 0.125, 0.1], [0.5, 0.5, 0.2, 0.2]]])
    prediction = Prediction(
        torch.full((1, 2, 1), 2.0), boxes, boxes, frame=torch.full((1, 4), 100.0), grid=((1, 2, 1),)
    )
    for drops_empty, count in ((True, 1 + (width > 0)), (False, 2)):
        found = PerLevelNMS(drops_empty=drops_empty)(prediction, torch.full((1, 2), 100))
        assert int(found.is_detection.sum()) == count


def test_selection_by_level_needs_a_grid() -> None:
    prediction = Prediction(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="needs candidates with a level"):
        PerLevelNMS()(prediction, torch.ones(1, 2))
