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


def test_every_object_of_a_cell_counts_where_the_release_counts_objects() -> None:
    # In cells of 4 pixels, on a grid whose last cells begin at 2: the second box is cut to 1 x 2 cells there.
    both = objects([(4.0, 4.0, 8.0, 8.0), (6.0, 4.0, 4.0, 8.0), (30.0, 30.0, 4.0, 4.0)])
    cells = [(4.0 * column, 4.0 * row, 4.0, 4.0) for row in range(3) for column in range(3)]
    prediction = in_pixels(*cells, strides=[4.0] * 9)
    code = torch.zeros(1, 9, 4)
    code[0, 4] = torch.tensor([0.0, 0.0, 1.0, 2.0])
    prediction = replace(prediction, code=code, grid=((3, 3, 1),))
    matches = assigned(GaussianAssigner(radius="original"), prediction, both)
    assert matches.target.tolist() == [[-1] * 4 + [1] + [-1] * 4]
    assert matches.num_pairs().tolist() == [2]  # the third lies outside
    size = CentreL1Loss(of="size", per="object")(prediction, matches, both)
    assert size.value.tolist() == pytest.approx([(abs(1 - 2) + abs(2 - 2)) / 2 + 0])
    offset = CentreL1Loss(of="offset", per="object")(prediction, matches, both)
    assert offset.value.tolist() == pytest.approx([0.0 + 0.5 / 2])
    assert size.divisor is not None
    assert size.divisor.tolist() == [2]


def test_scores_beyond_the_clamp_have_no_gradient() -> None:
    logits = torch.tensor([[[20.0], [-20.0], [1.0]]], requires_grad=True)
    boxes = torch.tensor([[[0.5, 0.5, 0.1, 0.1]] * 3])
    matches = Matches(torch.tensor([[-1, -1, -1]]), class_target=torch.zeros(1, 3, 1))
    value = HeatMapLoss(clamp=1e-4)(Prediction(logits, boxes, boxes), matches, objects([])).value.sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[0, :, 0] != 0).tolist() == [False, False, True]
