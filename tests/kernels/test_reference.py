"""The plain twin against loops over every point and corner, so that the other backends have a sound oracle."""

import pytest
import torch
from torch import Tensor

from deta_kernels import deformable_attention
from tests.kernels.scenes import ODD_LEVELS, Shapes, loop_attention, random_problem, run_with


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("shapes", [ODD_LEVELS, ((0, 3), (2, 2))])
def test_output_equals_loops_over_every_corner(shapes: Shapes, boxes: bool) -> None:
    problem = random_problem(shapes, images=2, queries=4, heads=2, points=2, boxes=boxes, spread=1.5)
    torch.testing.assert_close(run_with(problem, backend="reference").output, loop_attention(problem))


@pytest.mark.parametrize("boxes", [False, True])
def test_gradients_equal_finite_differences(boxes: bool) -> None:
    problem = random_problem(((3, 4), (2, 2)), images=1, queries=3, heads=2, channels=3, points=2, boxes=boxes)
    leaves = [tensor.requires_grad_() for tensor in problem.tensors]

    def attend(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return deformable_attention(value, problem.shapes, reference, offsets, logits, backend="reference")

    assert torch.autograd.gradcheck(attend, leaves)


def test_bfloat16_locations_are_not_rounded() -> None:
    problem = random_problem(((80, 90),), queries=40).to(torch.bfloat16, reference=torch.float32)
    output = run_with(problem, backend="reference").output
    assert output.dtype == torch.bfloat16
    exact = run_with(problem.to(torch.float64), backend="reference").output
    assert (output - exact).abs().max() < 2**-8 * exact.abs().max()


def test_second_derivative_exists() -> None:
    problem = random_problem(images=1, queries=2, heads=1, channels=2, points=1)
    value, reference, offsets, logits = problem.tensors
    logits.requires_grad_()
    output = deformable_attention(value, problem.shapes, reference, offsets, logits, backend="reference")
    (first,) = torch.autograd.grad(output.square().sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), logits)
    assert second.abs().max() > 0
