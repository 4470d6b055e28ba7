"""Attention of queries to each other."""

import pytest
import torch
from torch import nn

from deta.models.attention.self_attention import SelfAttention


@pytest.mark.parametrize("is_masked", [False, True])
def test_it_equals_the_module_whose_parameters_it_has(*, is_masked: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(hidden_dim=8, num_heads=2), nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    located, content = torch.randn(2, 2, 5, 8)
    blocks = torch.tensor([0, 0, 1, 1, 1])
    is_blocked = blocks[:, None] != blocks if is_masked else None
    expected, _ = theirs(located, located, content, attn_mask=is_blocked, need_weights=False)
    torch.testing.assert_close(ours(located, content, is_blocked), expected)


def test_a_blocked_query_changes_nothing() -> None:
    torch.manual_seed(0)
    attention, content = SelfAttention(hidden_dim=8, num_heads=2), torch.randn(1, 3, 8)
    is_blocked = torch.zeros(3, 3, dtype=torch.bool)
    is_blocked[:2, 2] = True
    other = content.clone()
    other[:, 2] += 1
    found, changed = attention(content, content, is_blocked), attention(other, other, is_blocked)
    assert torch.equal(found[:, :2], changed[:, :2])
    assert not torch.equal(found[:, 2], changed[:, 2])


def test_weights_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    attention, content = SelfAttention(hidden_dim=8, num_heads=2, dropout=0.5), torch.randn(1, 5, 8)
    first, second = (attention(content, content, None) for _ in range(2))
    assert not torch.equal(first, second)
    whole = SelfAttention(hidden_dim=8, num_heads=2)
    whole.load_state_dict(attention.state_dict())
    torch.testing.assert_close(attention.eval()(content, content, None), whole(content, content, None))
