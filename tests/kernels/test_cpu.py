"""The compiled CPU path against the plain twin in float64."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from deta_kernels import deformable_attention
from tests.kernels.scenes import (
    ODD_LEVELS,
    Problem,
    Result,
    Shapes,
    assert_results_close,
    random_problem,
    run_reference,
    run_with,
)

pytestmark = pytest.mark.usefixtures("memory_starts_as_nan")

# Rounding of float32: about 100 pixels of location times 6e-8, times differences of neighbouring pixels.
FLOAT32, FLOAT64 = 1e-5, 1e-12
PYRAMID: Shapes = ((8, 10), (5, 6), (4, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1))


def run_cpu(problem: Problem) -> Result:
    return run_with(problem, backend="cpu")


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.float64, FLOAT64)])
def test_output_and_every_gradient_equal_the_twin(boxes: bool, dtype: torch.dtype, tolerance: float) -> None:
    problem = random_problem(queries=63, boxes=boxes)
    assert_results_close(run_cpu(problem.to(dtype)), run_reference(problem), tolerance)


@pytest.mark.parametrize(
    "channels", [12, 33, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 16, 32, 128))]
)
def test_any_head_size_is_right(channels: int) -> None:
    problem = random_problem(channels=channels, heads=2, queries=9)
    assert_results_close(run_cpu(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.parametrize("levels", range(1, 9))
def test_any_number_of_levels_is_right(levels: int) -> None:
    problem = random_problem(PYRAMID[:levels], points=levels % 3 + 1)
    assert_results_close(run_cpu(problem.to(torch.float64)), run_reference(problem), FLOAT64)


@pytest.mark.parametrize("shapes", [((1, 1),), ((1, 7),), ((7, 1),), ((0, 4), (3, 3)), ((3, 3), (0, 0), (2, 5))])
def test_tiny_and_empty_levels_are_right(shapes: Shapes) -> None:
    problem = random_problem(shapes)
    assert_results_close(run_cpu(problem), run_reference(problem), FLOAT64)


@pytest.mark.parametrize("boxes", [False, True])
def test_points_outside_the_map_are_right(boxes: bool) -> None:
    problem = random_problem(boxes=boxes, spread=3.0, queries=40)
    result = run_cpu(problem)
    assert_results_close(result, run_reference(problem), FLOAT64)
    assert (result.offsets == 0).all(-1).float().mean() > 0.3  # many points do see nothing


def test_points_far_away_contribute_nothing() -> None:
    problem = random_problem().to(torch.float32)
    for distance in (1e4, 1e9, 1e30, -1e30, float("inf"), -float("inf")):
        result = run_cpu(replace(problem, offsets=torch.full_like(problem.offsets, distance)))
        assert all((tensor == 0).all() for tensor in (result.output, result.value, result.offsets, result.logits))


def test_not_a_number_is_passed_on_instead_of_read_out_of_bounds() -> None:
    problem = random_problem(queries=3).to(torch.float32)
    offsets = problem.offsets.clone()
    offsets[0, 1, 2, 0, 0, 0] = float("nan")
    output = run_cpu(replace(problem, offsets=offsets)).output
    assert output[0, 1, 2].isnan().all()
    assert output.isnan().sum() == output.shape[-1]


def test_points_on_pixel_centres_read_that_pixel() -> None:
    value = torch.arange(12.0).view(1, 12, 1, 1)
    centres = torch.tensor([((x + 0.5) / 4, (y + 0.5) / 3) for y in range(3) for x in range(4)])
    output = deformable_attention(
        value, ((3, 4),), centres.view(1, 12, 1, 2), torch.zeros(1, 12, 1, 1, 1, 2), torch.zeros(1, 12, 1, 1)
    )
    torch.testing.assert_close(output.flatten(), torch.arange(12.0), rtol=0, atol=1e-5)


def test_gradients_on_pixel_centres_and_at_the_border_are_those_of_the_twin() -> None:
    """Bilinear sampling has a kink there; all numbers are exact, so both must choose the same side."""
    steps = torch.arange(-3.0, 13.0)  # pixels -2, -1.5, ... 5.5 of a map of 4 by 4
    problem = random_problem(((4, 4),), images=1, queries=len(steps) ** 2, heads=1, points=1)
    reference = torch.cartesian_prod(steps, steps).view(problem.reference.shape).double() / 8
    problem = replace(problem, reference=reference, offsets=torch.zeros_like(problem.offsets))
    assert_results_close(run_cpu(problem), run_reference(problem), FLOAT64)


def test_gradients_equal_finite_differences() -> None:
    problem = random_problem(((3, 4), (2, 2)), images=1, queries=3, heads=2, channels=3, points=2, boxes=True)
    leaves = [tensor.requires_grad_() for tensor in problem.tensors]

    def attend(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return deformable_attention(value, problem.shapes, reference, offsets, logits, backend="cpu")

    assert torch.autograd.gradcheck(attend, leaves)


def test_strides_do_not_matter() -> None:
    problem = random_problem()
    expected = run_cpu(problem)
    strided = Problem(
        value=_strided(problem.value),
        shapes=problem.shapes,
        reference=_strided(problem.reference),
        offsets=_strided(problem.offsets),
        logits=_strided(problem.logits),
        upstream=_strided(problem.upstream),
    )
    assert not strided.value.is_contiguous()
    assert not strided.upstream.is_contiguous()
    assert_results_close(run_cpu(strided), expected, 0.0)


def test_expanded_reference_and_upstream_are_right() -> None:
    problem = random_problem(queries=5)
    one = problem.reference[:, :, :1]
    problem = replace(problem, reference=one.expand_as(problem.reference))
    problem = replace(problem, upstream=problem.upstream[:1, :1, :1, :1].expand_as(problem.upstream))
    assert_results_close(run_cpu(problem), run_reference(problem), FLOAT64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_only_inputs_and_results(dtype: torch.dtype) -> None:
    problem = random_problem(queries=40).to(dtype, reference=torch.float32)
    # Half a unit in the last place of the result, as the arithmetic between is float32.
    assert_results_close(run_cpu(problem), run_reference(problem), torch.finfo(dtype).eps)


@pytest.mark.parametrize(("images", "queries"), [(2, 0), (0, 4)])
def test_no_queries_or_no_images_give_an_empty_output(images: int, queries: int) -> None:
    problem = random_problem(images=images, queries=queries)
    result = run_cpu(problem)
    assert result.output.shape == (images, queries, 3, 8)
    assert (result.value == 0).all()


def test_padding_rows_of_zeros_take_no_gradient_into_account() -> None:
    """A padded pixel is a zero row: it changes nothing but the share of the points that fall on it."""
    problem = random_problem(((6, 6),), queries=30)
    value = problem.value.clone()
    value.view(2, 6, 6, 3, 8)[:, :, 4:] = 0
    problem = replace(problem, value=value)
    assert_results_close(run_cpu(problem), run_reference(problem), FLOAT64)


def test_result_does_not_depend_on_the_number_of_threads(set_threads: Callable[[int], None]) -> None:
    problem = random_problem(queries=600, heads=4).to(torch.float32)
    results = []
    for count in (1, 2, 5):
        set_threads(count)
        results.append(run_cpu(problem))
    for result in results[1:]:
        assert_results_close(result, results[0], 0.0)


def test_calls_from_several_python_threads_do_not_disturb_each_other(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    problems = [random_problem(queries=300, seed=seed).to(torch.float32) for seed in range(4)]
    expected = [run_cpu(problem) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, wanted in zip(pool.map(run_cpu, problems), expected, strict=True):
                assert_results_close(found, wanted, 0.0)


class _Attended(Dataset[Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        problem = random_problem(queries=300, seed=index).to(torch.float32)
        with torch.no_grad():  # autograd's own threads, if any test has started them, do not survive a fork
            values = (problem.value, problem.shapes, problem.reference, problem.offsets, problem.logits)
            return deformable_attention(*values, backend="cpu")


def test_forked_loader_workers_compute_the_same(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    expected = [_Attended()[index] for index in range(4)]  # the parent has used its threads before the fork
    loader = DataLoader(_Attended(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    for found, wanted in zip(loader, expected, strict=True):
        assert torch.equal(found, wanted)


def test_autocast_keeps_the_reference_in_float32() -> None:
    problem = random_problem(((80, 90),), queries=40).to(torch.float32)
    half = replace(problem, value=problem.value.bfloat16(), offsets=problem.offsets.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = deformable_attention(half.value, half.shapes, half.reference, half.offsets, half.logits)
    assert output.dtype == torch.bfloat16
    # 2**-8 is half a unit in the last place: had the locations been rounded, errors would be of order one.
    error = (output.double() - run_reference(half).output).abs().max()
    assert error < 2**-8 * run_reference(half).output.abs().max()


def test_float32_error_stays_small_on_a_large_map() -> None:
    problem = random_problem(((60, 80), (30, 40), (15, 20), *ODD_LEVELS), images=1, queries=200, heads=2)
    found, expected = run_cpu(problem.to(torch.float32)), run_reference(problem)
    for name in Result.__dataclass_fields__:
        wanted = getattr(expected, name)
        assert (getattr(found, name) - wanted).norm() <= 1e-5 * wanted.norm(), name


def _strided(tensor: Tensor) -> Tensor:
    """Equal numbers in memory of reversed dimension order."""
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)
