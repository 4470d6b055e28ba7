"""Attention of queries to each other."""

import torch

from deta.models.attention.self_attention import SelfAttention


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
