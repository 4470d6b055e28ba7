"""Sizes that a traced program leaves open."""

import torch
from torch import Tensor, nn
from torch.export import Dim

from deta.ops.sizes import first_of_each, smaller


class _Best(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        flat = values.flatten(1)
        return first_of_each(flat, smaller(10, flat.shape[1]))


def test_a_program_takes_the_first_ones_also_where_there_are_more_than_it_was_traced_with() -> None:
    sides = {1: Dim("height", min=2), 2: Dim("width", min=2)}
    program = torch.export.export(_Best(), (torch.zeros(2, 2, 3),), dynamic_shapes=(sides,), strict=False).module()
    for height, width in ((2, 2), (5, 7)):
        values = torch.arange(2 * height * width).view(2, height, width)
        assert torch.equal(program(values), values.flatten(1)[:, :10])
        assert torch.equal(_Best()(values), values.flatten(1)[:, :10])
