"""Losses of heat maps and centres, on any input."""

from dataclasses import replace

import pytest

from deta.losses import CentreL1Loss, HeatMapLoss, Sum
from deta.losses.terms.quality import own_class
from deta.structures import Matches, Prediction, Targets
from deta.testing import check_term


class OfCentres(HeatMapLoss):
    """Positives as centres, where an assignment has no targets of every class."""

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        if matches.class_target is None:
            is_centre = own_class(matches, targets, prediction.logits.shape[2])
            matches = replace(matches, class_target=is_centre.float())
        return super().__call__(prediction, matches, targets)


def test_heat_maps_do_what_every_term_must() -> None:
    check_term(OfCentres())


@pytest.mark.parametrize("of", ["offset", "size"])
def test_centres_do_what_every_term_must(of: str) -> None:
    check_term(CentreL1Loss(of=of), needs=["code", "strides"])
