"""The Triton kernels in Triton's interpreter; ``test_triton_interpreted.py`` runs this file in its own process.

The interpreter is chosen when Triton is imported, for the whole process, which must not hold for other tests.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.memory_rates import gather_kernel, reduce_kernel
from deta_kernels import backward as backward_pass
from deta_kernels import coarse
from deta_kernels.backward import backward
from deta_kernels.forward import forward
from tests.kernels.scenes import (
    ODD_LEVELS,
    Problem,
    Result,
    Shapes,
    assert_results_close,
    random_problem,
    run_reference,
)

pytestmark = pytest.mark.usefixtures("memory_starts_as_nan")

# Rounding of float32 in locations of some pixels, times differences of neighbouring pixels.
FLOAT32 = 1e-5


def run_triton(problem: Problem, *, deterministic: bool = False, with_reference: bool = True) -> Result:
    value, reference, offsets, logits = problem.tensors
    sizes = [side for size in problem.shapes for side in size]
    output = forward(value, sizes, reference, offsets, logits)
    gradients = backward(
        problem.upstream, output, value, sizes, reference, offsets, logits, with_reference, deterministic
    )
    return Result(output, *gradients)


@pytest.fixture(params=[0, 12], ids=["no level is coarse", "two of three are"])
def with_coarse_levels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass takes levels of ``ODD_LEVELS`` for coarse that it would not for so few queries."""
    monkeypatch.setattr(backward_pass, "largest_coarse_level", lambda *_: request.param)


@pytest.mark.usefixtures("with_coarse_levels")
@pytest.mark.parametrize(
    ("boxes", "deterministic"),
    [
        (False, False),
        (True, True),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [(False, True), (True, False)]),
    ],
)
def test_output_and_every_gradient_equal_the_twin(boxes: bool, deterministic: bool) -> None:
    problem = random_problem(queries=63, images=1, heads=2, channels=16, boxes=boxes, spread=1.5)
    result = run_triton(problem.to(torch.float32), deterministic=deterministic)
    assert_results_close(result, run_reference(problem), FLOAT32)


@pytest.mark.parametrize("channels", [12, 33, 128])
def test_any_head_size_is_right(channels: int) -> None:
    problem = random_problem(channels=channels, images=1, heads=2, queries=3)
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.parametrize(
    ("shapes", "points"),
    [
        (((1, 1),), 1),
        (((1, 7), (7, 1)), 3),
        (((0, 3), (3, 3)), 2),
        (((6, 7), (5, 5), (4, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1)), 2),
        (((5, 6),), 8),
    ],
)
def test_any_levels_and_points_are_right(shapes: Shapes, points: int) -> None:
    problem = random_problem(shapes, points=points, images=1, heads=1, queries=5, boxes=points % 2 == 0)
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.usefixtures("with_coarse_levels")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_only_inputs_and_results(dtype: torch.dtype) -> None:
    problem = random_problem(queries=20, images=1, heads=2).to(dtype, reference=torch.float32)
    result = run_triton(problem)
    assert result.output.dtype == result.value.dtype == result.offsets.dtype == dtype
    assert result.reference.dtype == torch.float32
    # The rounded output enters the gradient of the logits, so a second rounding is allowed.
    assert_results_close(result, run_reference(problem), 2 * torch.finfo(dtype).eps)


def test_several_images_do_not_mix() -> None:
    problem = random_problem(images=3, heads=1, queries=4, channels=4)
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.parametrize("boxes", [False, True])
def test_points_outside_the_map_are_right(boxes: bool) -> None:
    problem = random_problem(boxes=boxes, spread=3.0, queries=20, images=1)
    result = run_triton(problem.to(torch.float32))
    assert_results_close(result, run_reference(problem), FLOAT32)
    assert (result.offsets == 0).all(-1).float().mean() > 0.3  # many points do see nothing


def test_coarse_levels_of_any_size_get_the_sums_of_all_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward_pass, "largest_coarse_level", lambda *_: 10**6)
    monkeypatch.setattr(coarse, "BLOCK_QUERIES", 32)
    problem = random_problem(((9, 8), (8, 9), (0, 3), (1, 17)), queries=70, images=2, heads=1, channels=12, spread=1.5)
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


def test_padding_rows_of_zeros_are_right() -> None:
    problem = random_problem(((6, 6),), queries=30, images=1)
    problem.value.view(1, 6, 6, 3, 8)[:, :, 4:] = 0
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.usefixtures("with_coarse_levels")
@pytest.mark.filterwarnings("ignore:.*not a double precision floating point")
@pytest.mark.parametrize(
    "boxes", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.gate)]
)
def test_gradients_equal_finite_differences(boxes: bool) -> None:
    """Of the kernel itself: float32 allows steps of 0.002, within one pixel, and three digits."""
    problem = random_problem(
        ((3, 2), (1, 2)), images=1, queries=2, heads=1, channels=2, points=1, boxes=boxes, spread=0.5
    ).to(torch.float32)
    sizes = [side for size in problem.shapes for side in size]

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor:  # noqa: ANN401
            output = forward(tensors[0], sizes, *tensors[1:])
            ctx.save_for_backward(output, *tensors)
            return output

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
            output, value, reference, offsets, logits = ctx.saved_tensors
            return backward(upstream[0], output, value, sizes, reference, offsets, logits, True, False)

    leaves = [tensor.requires_grad_() for tensor in problem.tensors]
    assert torch.autograd.gradcheck(Attention.apply, leaves, eps=2e-3, atol=1e-3, rtol=1e-3)


def test_points_far_away_contribute_nothing() -> None:
    problem = random_problem(images=1, heads=1, queries=3).to(torch.float32)
    for distance in (1e4, -1e30, float("inf")):
        result = run_triton(replace(problem, offsets=torch.full_like(problem.offsets, distance)))
        assert all((tensor == 0).all() for tensor in (result.output, result.value, result.offsets, result.logits))


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # NumPy stands for the GPU's conversion
def test_not_a_number_is_passed_on_instead_of_read_out_of_bounds() -> None:
    problem = random_problem(images=1, heads=2, queries=3).to(torch.float32)
    offsets = problem.offsets.clone()
    offsets[0, 1, 1, 0, 0, 0] = float("nan")
    output = run_triton(replace(problem, offsets=offsets)).output
    assert output[0, 1, 1].isnan().all()
    assert output.isnan().sum() == output.shape[-1]


def test_strides_do_not_matter() -> None:
    problem = random_problem(ODD_LEVELS[1:], images=2, heads=2, queries=3).to(torch.float32)
    value = problem.value.transpose(0, 3).contiguous().transpose(0, 3)
    upstream = problem.upstream.transpose(1, 3).contiguous().transpose(1, 3)
    assert not value.is_contiguous()
    found = run_triton(replace(problem, value=value, upstream=upstream))
    assert_results_close(found, run_triton(problem), 1e-6)


def test_gradient_of_the_reference_is_made_on_demand() -> None:
    problem = random_problem(((2, 3),), images=1, heads=1, queries=2).to(torch.float32)
    assert run_triton(problem, with_reference=False).reference.numel() == 0


@pytest.mark.usefixtures("with_coarse_levels")
@pytest.mark.parametrize("magnitude", [1e-20, 1.0, 1e20])
def test_deterministic_sums_are_exact_at_any_magnitude(magnitude: float) -> None:
    problem = random_problem(images=1, heads=1, queries=9)
    problem = replace(problem, upstream=problem.upstream * magnitude)
    found = run_triton(problem.to(torch.float32), deterministic=True).value
    torch.testing.assert_close(found / magnitude, (run_reference(problem).value / magnitude).float())


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_deterministic_sums_show_an_upstream_that_is_not_finite() -> None:
    problem = random_problem(images=1, heads=1, queries=2).to(torch.float32)
    problem.upstream[0, 0, 0, 0] = float("nan")
    assert run_triton(problem, deterministic=True).value.isnan().all()


@pytest.mark.parametrize(("images", "queries"), [(1, 0), (0, 2)])
def test_no_queries_or_no_images_give_empty_results(images: int, queries: int) -> None:
    result = run_triton(random_problem(images=images, queries=queries).to(torch.float32))
    assert result.output.shape == (images, queries, 3, 8)
    assert (result.value == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("packed", [True, False])
def test_benchmark_kernels_gather_and_add_the_rows_of_the_index(dtype: torch.dtype, packed: bool) -> None:
    index = torch.tensor([0, 2, 2, 1, 4, 4, 4, 0, 3, 3, 3, 3, 3, 3, 3, 3], dtype=torch.int32)
    table = torch.arange(160.0).view(5, 32)
    sums, counts = torch.empty(2, 4, 32), torch.zeros(5, 32, dtype=dtype)
    gather_kernel[(2,)](table, index, sums, 8, 4, 32)
    reduce_kernel[(2,)](counts, index, 8, 4, 32, packed)
    assert torch.equal(sums, table[index.view(2, 2, 4)].sum(1))
    assert torch.equal(counts, torch.bincount(index, minlength=5).to(dtype)[:, None].expand(-1, 32))
