"""The focal loss where only some classes were looked for in an image."""

from dataclasses import replace

import pytest
import torch

from deta.assign import IoUAssigner
from deta.losses.federated import penalised_classes
from deta.structures import FederatedLabels, Targets
from tests.assign.scenes import objects
from tests.losses.criteria import QueryCriterion
from tests.losses.test_criterion import CENTRE, make_output, measure, terms

FAR = (0.1, 0.1, 0.1, 0.1)


def labels(*rows: list[int]) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])


def scene() -> Targets:
    """Two images of 8 classes: one with an object of class 5, one without."""
    targets = replace(objects([CENTRE], []), labels=torch.tensor([[5], [0]]))
    federated = FederatedLabels(
        negative=labels([1, 2], [7]), not_exhaustive=labels([], [3]), sampled=labels([4], [0, 3])
    )
    return replace(targets, federated=federated)


def test_annotated_negative_and_sampled_classes_count() -> None:
    counted = penalised_classes(scene(), 8)
    assert [row.nonzero().flatten().tolist() for row in counted] == [[1, 2, 4, 5], [0, 7]]


def loss_gradient(targets: Targets, *, federated: bool) -> torch.Tensor:
    """``[B, Q, C]`` gradient of the class losses, of a query on the object and one far from it."""
    logits = torch.zeros(2, 2, 8, requires_grad=True)
    output = make_output(torch.tensor([[CENTRE, FAR]] * 2), logits, num_layers=1)
    criterion = QueryCriterion(layer_assigner=IoUAssigner(gamma=None), federated=federated)
    terms(measure(criterion, output, targets))["layer0/class"].backward()
    assert logits.grad is not None
    return logits.grad


def test_other_classes_get_no_gradient_and_those_that_count_the_usual_one() -> None:
    targets = scene()
    usual, federated = (loss_gradient(targets, federated=value) for value in (False, True))
    counted = penalised_classes(targets, 8)[:, None].expand(-1, 2, -1)
    assert (federated[~counted] == 0).all()
    assert torch.equal(federated[counted], usual[counted])
    assert federated[0, 0, 5] < 0  # the object
    assert federated[0, 1, 5] > 0  # another query of its class


def test_of_a_class_that_is_not_annotated_exhaustively_only_positives_count() -> None:
    targets = scene()
    assert targets.federated is not None
    targets = replace(targets, federated=replace(targets.federated, not_exhaustive=labels([5], [])))
    gradient = loss_gradient(targets, federated=True)
    assert gradient[0, 0, 5] < 0
    assert gradient[0, 1, 5] == 0


def test_it_is_off_unless_asked_for() -> None:
    assert not QueryCriterion(layer_assigner=IoUAssigner()).rules["layers"].federated
    gradient = loss_gradient(scene(), federated=False)
    assert (gradient != 0).all()


def test_the_first_stage_is_not_affected() -> None:
    logits = torch.zeros(2, 2, 8)
    output = make_output(torch.tensor([[CENTRE, FAR]] * 2), logits, with_proposals=True)
    usual, federated = (
        terms(
            measure(
                QueryCriterion(
                    layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(gamma=None), federated=value
                ),
                output,
                scene(),
            )
        )
        for value in (False, True)
    )
    assert torch.equal(usual["proposals/class"], federated["proposals/class"])
    assert federated["layer0/class"] < usual["layer0/class"]


def test_data_that_does_not_say_what_was_looked_for_is_refused() -> None:
    targets = replace(scene(), federated=None)
    with pytest.raises(
        ValueError, match=r"criterion\.rules\.layers\.federated=true needs images with lists .* data=lvis"
    ):
        loss_gradient(targets, federated=True)
