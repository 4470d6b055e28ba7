"""The deformable attention module."""

import pytest
import torch

from deta.models.attention.deformable import DeformableAttention

SHAPES = ((4, 6), (2, 3))
NUM_TOKENS = 30


def module(**options: int) -> DeformableAttention:
    torch.manual_seed(0)
    arguments = {"hidden_dim": 16, "num_heads": 4, "num_levels": 2, "num_points": 3} | options
    return DeformableAttention(**arguments)


def test_heads_start_looking_into_different_directions_step_by_step() -> None:
    offsets = module().sampling_offsets.bias.view(4, 2, 3, 2)  # [H, L, P, 2]
    steps = torch.tensor([1.0, 2.0, 3.0])[:, None]
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for head, direction in enumerate(directions):
        for level in range(2):
            torch.testing.assert_close(offsets[head, level], steps * direction, rtol=0, atol=1e-6)


def test_padded_tokens_count_as_zero_whatever_they_hold() -> None:
    attention, query = module(), torch.randn(1, 5, 16)
    tokens = torch.randn(1, NUM_TOKENS, 16)
    is_padding = torch.zeros(1, NUM_TOKENS, dtype=torch.bool)
    is_padding[:, 3:20] = True
    references = torch.rand(1, 5, 2, 4)
    first = attention(query, references, tokens, SHAPES, is_padding)
    changed = tokens.masked_fill(is_padding[..., None], 1e6)
    assert torch.equal(attention(query, references, changed, SHAPES, is_padding), first)
    assert not torch.allclose(attention(query, references, tokens, SHAPES), first)


def test_box_reference_without_size_reads_a_single_point() -> None:
    attention, query = module(), torch.randn(1, 5, 16)
    constant = torch.randn(1, 1, 16).expand(-1, NUM_TOKENS, -1)
    references = torch.tensor([0.5, 0.5, 0.0, 0.0]).expand(1, 5, 2, 4)
    found = attention(query, references, constant, SHAPES)
    expected = attention.output_proj(attention.value_proj(constant[:, :5]))
    torch.testing.assert_close(found, expected)


def test_width_must_be_a_multiple_of_the_heads() -> None:
    with pytest.raises(ValueError, match="hidden_dim must be a multiple of num_heads, got 18 and 4"):
        module(hidden_dim=18)
