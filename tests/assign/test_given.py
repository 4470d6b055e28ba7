"""The rule of candidates that were made for an object."""

import pytest
import torch

from deta.assign import GivenAssigner
from deta.testing import check_assigner
from tests.assign.scenes import assigned, candidates, objects

CENTRE = (0.5, 0.5, 0.2, 0.2)


def test_the_rule_does_what_every_rule_must() -> None:
    check_assigner(GivenAssigner(), needs=["given"])


def test_candidates_that_say_nothing_of_it_are_refused() -> None:
    with pytest.raises(ValueError, match="needs queries that are made from objects"):
        assigned(GivenAssigner(), candidates([CENTRE]), objects([CENTRE]))


def test_candidates_keep_the_object_that_they_were_made_for() -> None:
    scene = candidates([CENTRE] * 3)
    given = torch.tensor([[1, -1, -2]])
    scene = type(scene)(scene.logits, scene.boxes, scene.priors, given=given)
    assert torch.equal(assigned(GivenAssigner(), scene, objects([CENTRE, CENTRE])).target, given)
