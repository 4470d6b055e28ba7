"""Which assignments a batch was given, seen from its losses."""

import torch

from deta.structures import Losses, Matches, MatchStatistics

NOTHING = torch.zeros(())


def matches() -> Matches:
    return Matches(torch.zeros(1, 2, dtype=torch.int64), MatchStatistics(*[NOTHING] * 9))


def assignments(**stages: Matches) -> dict[str, str]:
    named = {name.replace("__", "/"): value for name, value in stages.items()}
    return Losses(NOTHING, {}, named).assignments()


def test_layers_that_share_an_assignment_are_reported_once() -> None:
    shared = matches()
    found = assignments(proposals=matches(), layer0=shared, layer1=shared, layer2=shared)
    assert found == {"proposals": "proposals", "layers": "layer0"}


def test_layers_that_are_assigned_anew_are_reported_each() -> None:
    found = assignments(layer0=matches(), layer1=matches(), layer2=matches())
    assert found == {"layer0": "layer0", "layer1": "layer1", "layers": "layer2"}


def test_further_query_groups_carry_their_name() -> None:
    shared = matches()
    found = assignments(layer0=matches(), layer1=matches(), copy__layer0=shared, copy__layer1=shared)
    assert found == {"layer0": "layer0", "layers": "layer1", "copy/layers": "copy/layer0"}
