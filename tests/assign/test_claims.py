"""Who has a candidate that several objects claim."""

import torch

from deta.assign.claims import Claims
from tests.assign.scenes import candidates

BOX = (0.5, 0.5, 0.1, 0.1)
NONE = -torch.inf


def test_the_highest_claim_has_a_candidate_and_of_equals_the_first_also_over_parts() -> None:
    claims = Claims(candidates([BOX] * 4))
    claims.add(torch.tensor([[[1.0, NONE, 2.0, NONE], [1.0, 0.5, 3.0, NONE]]]), 0)
    claims.add(torch.tensor([[[1.0, 0.7, 3.0, torch.nan]]]), 2)
    assert claims.owner.tolist() == [[0, 2, 1, -1]]
    assert claims.count.tolist() == [[3, 2, 3, 0]]
    assert claims.is_contested.tolist() == [[True, True, True, False]]
    torch.testing.assert_close(claims.highest[0, :3], torch.tensor([1.0, 0.7, 3.0]))


def test_claims_of_some_candidates_leave_the_others() -> None:
    claims = Claims(candidates([BOX] * 4))
    claims.add_some(torch.tensor([[[2.0, NONE], [1.0, 4.0]]]), torch.tensor([[[3, 0], [3, 1]]]), 5)
    assert claims.owner.tolist() == [[-1, 6, -1, 5]]
