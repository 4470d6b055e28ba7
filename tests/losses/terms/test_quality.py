"""Losses of quality: every term on any input, and scores where only some classes were looked for."""

from dataclasses import replace

import pytest
import torch

from deta.losses import (
    CenternessLoss,
    DistributionFocalLoss,
    MatchedClassLoss,
    ObjectnessLoss,
    QualityFocalLoss,
    Sum,
    WeightedGIoULoss,
)
from deta.structures import Matches, Prediction, QualityScore, Targets
from deta.testing import check_term


class OfBins(DistributionFocalLoss):
    """Codes of four numbers as those of all bins."""

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        assert prediction.code is not None
        steps = torch.linspace(0.5, 1.5, self.bins).repeat(4)
        code = prediction.code.repeat_interleave(self.bins, dim=2) * steps  # [B, N, 4 * bins]
        return super().__call__(replace(prediction, code=code), matches, targets)


@pytest.mark.parametrize("by", ["centerness", "score", "quality"])
def test_weighted_boxes_do_what_every_term_must(by: str) -> None:
    check_term(WeightedGIoULoss(by=by))


@pytest.mark.parametrize("by", ["centerness", "score"])
def test_distributions_do_what_every_term_must(by: str) -> None:
    check_term(OfBins(bins=5, by=by), needs=["code", "strides"])


def test_qualities_do_what_every_term_must() -> None:
    check_term(CenternessLoss(), needs=["quality"])
    check_term(ObjectnessLoss(), needs=["quality"])


def test_classes_of_a_quality_do_what_every_term_must() -> None:
    check_term(QualityFocalLoss())
    check_term(QualityFocalLoss(score=QualityScore(root=True)), needs=["quality"])
    check_term(MatchedClassLoss())
