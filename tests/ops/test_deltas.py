"""Boxes as deltas to other boxes."""

import math

import pytest
import torch

from deta.ops.deltas import decode_deltas, encode_deltas

PRIOR = torch.tensor([10.0, 20.0, 4.0, 8.0])


def test_a_box_is_coded_as_worked_out_by_hand() -> None:
    deltas = encode_deltas(PRIOR, torch.tensor([12.0, 18.0, 8.0, 2.0]))
    assert deltas.tolist() == pytest.approx([0.5, -0.25, math.log(2), -math.log(4)])


def test_decoding_undoes_coding_in_any_unit() -> None:
    generator = torch.Generator().manual_seed(0)
    priors, boxes = torch.rand(2, 50, 4, generator=generator) / 2 + 0.3  # nowhere near the limit
    torch.testing.assert_close(decode_deltas(priors, encode_deltas(priors, boxes)), boxes)
    scale = torch.tensor([640.0, 480.0, 640.0, 480.0])
    torch.testing.assert_close(encode_deltas(priors * scale, boxes * scale), encode_deltas(priors, boxes))


def test_growth_is_limited_and_shrinking_is_not() -> None:
    grown = decode_deltas(PRIOR, torch.tensor([0.0, 0.0, 50.0, -50.0]))
    assert grown[2] == pytest.approx(4 * 62.5)
    assert 0 < grown[3] < 1e-20


def test_a_box_without_area_has_finite_deltas() -> None:
    assert encode_deltas(PRIOR, torch.zeros(4)).isfinite().all()
