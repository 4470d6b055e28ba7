"""Losses of quality: every term on any input, and scores where only some classes were looked for."""

import math
from dataclasses import replace

import pytest
import torch

from deta.assign import Draw, GivenAssigner
from deta.losses import (
    CenternessLoss,
    Criterion,
    DistributionFocalLoss,
    MatchedClassLoss,
    ObjectnessLoss,
    QualityFocalLoss,
    Rule,
    Sum,
    WeightedGIoULoss,
)
from deta.structures import DetectionOutput, Matches, Prediction, QualityScore, StageKey, Targets
from deta.testing import check_term
from tests.assign.scenes import in_pixels, objects


class OfBins(DistributionFocalLoss):
    """Codes of four numbers as those of all bins."""

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        assert prediction.code is not None
        steps = torch.linspace(0.5, 1.5, self.bins).repeat(4)
        code = prediction.code.repeat_interleave(self.bins, dim=2) * steps  # [B, N, 4 * bins]
        return super().__call__(replace(prediction, code=code), matches, targets)


@pytest.mark.parametrize(
    "by", ["centerness", *(pytest.param(by, marks=pytest.mark.slow) for by in ("score", "quality"))]
)
def test_weighted_boxes_do_what_every_term_must(by: str) -> None:
    check_term(WeightedGIoULoss(by=by))


@pytest.mark.parametrize("by", ["centerness", pytest.param("score", marks=pytest.mark.slow)])
def test_distributions_do_what_every_term_must(by: str) -> None:
    check_term(OfBins(bins=5, by=by), needs=["code", "strides"])


def test_qualities_do_what_every_term_must() -> None:
    check_term(CenternessLoss(), needs=["quality"])
    check_term(ObjectnessLoss(), needs=["quality"])


def test_classes_of_a_quality_do_what_every_term_must() -> None:
    check_term(QualityFocalLoss())
    check_term(QualityFocalLoss(score=QualityScore(root=True)), needs=["quality"])
    check_term(MatchedClassLoss())


@pytest.mark.parametrize(
    ("side", "shares"),
    [
        (8.0, {0: 0.5, 1: 0.5}),  # a distance of half a stride
        (32.0, {2: 1.0}),
        (63.0, {3: 0.1, 4: 0.9}),  # 3.9375 is beyond the last bin but a tenth
        (64.0, {3: 0.1, 4: 0.9}),
        (640.0, {3: 0.1, 4: 0.9}),
    ],
)
def test_a_distance_is_shared_by_the_bins_beside_it_up_to_a_tenth_below_the_last(
    side: float, shares: dict[int, float]
) -> None:
    box = (50.0, 50.0, side, side)
    logits = torch.tensor([0.3, -1.0, 2.0, 0.7, -0.4])
    prediction = replace(in_pixels(box, strides=[8.0]), code=logits.repeat(4)[None, None])
    found = DistributionFocalLoss(bins=5, by="centerness")(
        prediction, Matches(torch.tensor([[0]])), objects([box])
    )  # the weight is 1: the prior lies in the centre
    logs = logits.log_softmax(0)
    expected = -sum(share * logs[number].item() for number, share in shares.items())
    assert found.value.tolist() == pytest.approx([expected], rel=1e-5)


class OfQuality(GivenAssigner):
    """An assignment of one object whose quality is known."""

    def __init__(self, quality: float) -> None:
        self.quality = quality

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        matches = super().__call__(prediction, targets, draw)
        return replace(matches, quality=torch.full(matches.target.shape, self.quality))


@pytest.mark.parametrize(("quality", "divisor"), [(0.25, 1.0), (1.5, 1.5)])
def test_the_sum_of_qualities_counts_at_least_one(quality: float, divisor: float) -> None:
    prior = (50.0, 50.0, 20.0, 10.0)  # of 100 pixels; GIoU 0.5 with the object
    prediction = replace(in_pixels(prior), given=torch.tensor([[0]]))
    rule = Rule(
        OfQuality(quality),
        class_terms={"class": QualityFocalLoss()},
        box_terms={"giou": WeightedGIoULoss(by="quality", weight=2.0)},
        normalizer="quality",
        ignore_coverage=None,
    )
    output = DetectionOutput({StageKey("dense"): prediction}, StageKey("dense"))
    losses = Criterion({"dense": rule})(output, objects([(0.5, 0.5, 0.2, 0.2)]), Draw.of(0))
    found = dict(zip((name for _, name in losses.names), (losses.terms() * losses.weights).tolist(), strict=True))
    assert found["giou"] == pytest.approx(2 * quality * 0.5 / divisor)
    # A logit of 0: log 2 for every class, times the squared distance of one half from the target.
    of_own, of_others = (quality - 0.5) ** 2, 7 * 0.25
    assert found["class"] == pytest.approx(math.log(2) * (of_own + of_others) / divisor)


def test_boxes_without_an_area_cost_one() -> None:
    box = (50.0, 50.0, 0.0, 20.0)
    found = WeightedGIoULoss(by="quality")(in_pixels(box), Matches(torch.tensor([[0]])), objects([box]))
    assert found.value.tolist() == [1.0]  # as where mmdetection limits both areas from below
