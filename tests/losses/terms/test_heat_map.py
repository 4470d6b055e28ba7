"""Losses of heat maps and centres, on any input."""

from dataclasses import replace

import pytest
import torch

from deta.assign import GaussianAssigner
from deta.losses import CentreL1Loss, HeatMapLoss, Sum
from deta.losses.terms.quality import own_class
from deta.structures import Matches, Prediction, Targets
from deta.testing import check_term
from tests.assign.scenes import assigned, in_pixels, objects


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


@pytest.mark.parametrize(("labels", "centres"), [((0, 0), 1.0), ((0, 1), 2.0)])
def test_a_cell_of_two_objects_compares_the_last_and_counts_once_for_every_class(
    labels: tuple[int, int], centres: float
) -> None:
    both = objects([(2.0, 2.0, 4.0, 4.0), (3.0, 2.0, 4.0, 8.0)])
    both = replace(both, labels=torch.tensor([labels]))
    # Two cells of 4 pixels, whose prior lies at their corner; both objects lie in the first.
    prediction = in_pixels((0.0, 0.0, 4.0, 4.0), (4.0, 0.0, 4.0, 4.0), strides=[4.0, 4.0])
    code = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    prediction = replace(prediction, code=code, grid=((1, 2, 1),))
    matches = assigned(GaussianAssigner(), prediction, both)
    for term, expected in ((CentreL1Loss(of="size"), (1.0 + 2.0) / 2), (CentreL1Loss(of="offset"), (0.75 + 0.5) / 2)):
        found = term(prediction, matches, both)
        assert found.value.tolist() == [expected]
        assert found.divisor is not None
        assert found.divisor.tolist() == [centres]
    divisor = HeatMapLoss()(prediction, matches, both).divisor
    assert divisor is not None
    assert divisor.tolist() == [centres]
