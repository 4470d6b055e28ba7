"""Parts of detectors whose second stage looks at regions."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import batch_norm

from deta.assign import Draw, MaxIoUAssigner, SampledAssigner
from deta.models import ProposalSelection, RegionHead, RegionPooling, RegionSampler, TransformerRegionHead
from deta.models.roi.head import MaskedBatchNorm
from deta.models.roi.proposals import Regions
from deta.structures import Prediction
from tests.assign.scenes import objects

FRAME = torch.tensor([[100.0, 100.0, 100.0, 100.0]])


def regions(*boxes: tuple[float, ...]) -> Regions:
    return Regions(torch.tensor([boxes]), torch.ones(1, len(boxes), dtype=torch.bool), torch.arange(len(boxes))[None])


def test_proposals_lie_inside_the_image_are_best_first_and_stay_apart_by_level() -> None:
    boxes = torch.tensor(
        [[(50.0, 50, 20, 20), (50, 50, 20, 19), (95, 50, 20, 20), (200, 50, 20, 20), (50, 50, 20, 20)]]
    )
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0, 0.5]])[..., None]
    first = Prediction(logits, boxes, boxes, grid=((2, 2, 1), (1, 1, 1)))
    found = ProposalSelection(num_proposals=4)(first, FRAME, training=False)
    # The first one overlaps the second; the fourth lies outside; the last one is of another level.
    assert found.source.tolist() == [[2, 1, 4, -1]]
    assert found.exists.tolist() == [[True, True, True, False]]
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([92.5, 50.0, 15.0, 20.0]))
    assert not found.boxes[0, 3].any()


def test_training_has_numbers_of_its_own() -> None:
    boxes = torch.rand(1, 30, 4) * 10 + torch.tensor([40.0, 40, 5, 5])
    first = Prediction(torch.randn(1, 30, 1), boxes, boxes, grid=((5, 6, 1),))
    selection = ProposalSelection(num_proposals=3, training_num_proposals=8, iou_threshold=1)
    assert [selection(first, FRAME, training=training).boxes.shape[1] for training in (False, True)] == [3, 8]


def test_objects_join_the_proposals_always_or_with_noise_where_none_is_positive() -> None:
    rule = MaxIoUAssigner(positive_from=0.5, background_below=0.5, low_quality="none")
    targets = objects([(0.3, 0.3, 0.2, 0.2)])
    near, far = regions((0.3, 0.3, 0.2, 0.2)), regions((0.8, 0.8, 0.1, 0.1))
    for proposals, always, unmatched in ((near, 2, 1), (far, 2, 2)):
        for append, count in (("always", always), ("unmatched", unmatched)):
            scaled = Regions(proposals.boxes * targets.sizes[0, 0], proposals.exists, proposals.source)
            found = RegionSampler(assigner=rule, append=append)(scaled, targets, Draw.of(0))
            assert int(found.exists.sum()) == count
            joined = found.boxes[found.source == -1][:1] / targets.sizes[0, 0]
            is_exact = torch.allclose(joined[:, 2:], torch.tensor([0.2, 0.2])) if len(joined) else None
            assert is_exact in ((True,) if append == "always" else (None, False))


def test_a_region_is_read_from_the_level_of_its_size() -> None:
    sides = torch.tensor([1.0, 111.0, 112.0, 223.0, 224.0, 447.0, 448.0, 5000.0, 0.0])
    boxes = torch.stack((sides, sides, sides, sides), dim=-1)[None]
    assert RegionPooling().levels(boxes, (4, 8, 16, 32, 64)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 0]]
    assert RegionPooling(num_levels=2).levels(boxes, (8, 16, 32)).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0]]


def test_what_does_not_exist_changes_no_norm() -> None:
    norm, usual = MaskedBatchNorm(3), torch.nn.BatchNorm2d(3)
    features = torch.randn(6, 3, 2, 2)
    exists = torch.tensor([True, True, False, True, True, False])
    found = norm(features, exists)
    torch.testing.assert_close(found[exists], usual(features[exists]))
    for name, value in usual.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)
    before = norm.state_dict()["running_mean"].clone()
    assert norm(features, torch.zeros(6, dtype=torch.bool)).isfinite().all()
    assert torch.equal(norm.state_dict()["running_mean"], before)
    norm.eval()
    torch.testing.assert_close(norm(features, exists), usual.eval()(features))


def test_regions_attend_to_those_that_exist_alone() -> None:
    head = TransformerRegionHead(num_classes=4, channels=8, resolution=2, num_layers=2, num_heads=2).eval()
    pooled, boxes = torch.randn(1, 3, 8, 2, 2), torch.rand(1, 3, 4) * 50
    exists = torch.tensor([[True, True, False]])
    of_three, _ = head(pooled, Regions(boxes, exists, torch.zeros(1, 3)), FRAME)
    of_two, _ = head(pooled[:, :2], Regions(boxes[:, :2], exists[:, :2], torch.zeros(1, 2)), FRAME)
    torch.testing.assert_close(of_three[:, :2], of_two)
    of_none, _ = head(pooled, Regions(boxes, torch.zeros_like(exists), torch.zeros(1, 3)), FRAME)
    assert of_none.isfinite().all()


def test_a_head_has_a_box_for_every_class_or_one_for_all() -> None:
    pooled, some = torch.randn(2, 3, 8, 4, 4), regions((1, 1, 1, 1))
    for class_boxes, number in ((True, 6), (False, 1)):
        head = RegionHead(num_classes=5, channels=8, resolution=4, class_boxes=class_boxes)
        logits, code = head(pooled, some, FRAME)
        assert logits.shape == (2, 3, 6)
        assert code.shape == (2, 3, number, 4)
    assert head.linears[0].out_features == 32


def test_a_sample_that_does_not_fit_is_refused() -> None:
    rule = SampledAssigner(assigner=MaxIoUAssigner(), number=64)
    with pytest.raises(ValueError, match=r"sampler\.assigner\.number 64 .* model\.body\.sampler\.num_regions 32"):
        RegionSampler(assigner=rule, num_regions=32)


def test_levels_whose_strides_do_not_double_are_refused() -> None:
    with pytest.raises(ValueError, match="strides double"):
        RegionPooling().levels(torch.ones(1, 1, 4), (4, 8, 16, 16))


def test_a_norm_of_all_ranks_sees_what_exists_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    head = RegionHead(num_classes=3, channels=4, resolution=4, num_convs=1)
    pooled, some = torch.randn(1, 3, 4, 4, 4), regions((5, 5, 2, 2), (6, 6, 2, 2), (7, 7, 2, 2))
    some = replace(some, exists=torch.tensor([[True, True, False]]))
    expected = head(pooled, some, FRAME)
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(head)
    norm = synchronised.convs[0].norm
    assert isinstance(norm, torch.nn.SyncBatchNorm)
    # Of one rank, since a CPU has no such norm.
    monkeypatch.setattr(norm, "forward", partial(batch_norm, running_mean=None, running_var=None, training=True))
    for found, own in zip(synchronised(pooled, some, FRAME), expected, strict=True):
        torch.testing.assert_close(found[some.exists], own[some.exists])


def test_outputs_of_their_own_have_no_place_for_no_object() -> None:
    pooled, some = torch.randn(1, 1, 8, 2, 2), regions((1, 1, 1, 1))
    for make in (RegionHead, TransformerRegionHead):
        head = make(num_classes=4, channels=8, resolution=2, scores="sigmoid")
        logits, code = head(pooled, some, FRAME)
        assert (logits.shape[-1], code.shape[2]) == (4, 4)
