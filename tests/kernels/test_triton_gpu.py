"""The Triton path on a CUDA device against the plain twin in float64."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deta_kernels import backward, deformable_attention, tuning
from tests.kernels.scenes import (
    Problem,
    Result,
    Shapes,
    assert_results_close,
    random_problem,
    run_reference,
    run_with,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PYRAMID: Shapes = ((25, 42), (13, 21), (7, 11), (4, 6), (1, 1))
FLOAT32 = 3e-5  # float32 locations on a map of 42 columns; sums of gradients in any order


def on_gpu(problem: Problem) -> Problem:
    value, reference, offsets, logits = (tensor.cuda() for tensor in problem.tensors)
    return Problem(value, problem.shapes, reference, offsets, logits, problem.upstream.cuda())


def on_cpu(result: Result) -> Result:
    return Result(*(getattr(result, name).cpu() for name in Result.__dataclass_fields__))


def run_triton(problem: Problem) -> Result:
    return on_cpu(run_with(on_gpu(problem), backend="triton"))


@pytest.mark.parametrize(
    ("channels", "boxes"),
    [(8, False), (12, True), (16, False), (32, False), (32, True), (33, True), (64, False), (128, True)],
)
def test_output_and_every_gradient_equal_the_twin(channels: int, boxes: bool) -> None:
    problem = random_problem(PYRAMID, queries=163, channels=channels, boxes=boxes, spread=1.4)
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.parametrize(("levels", "points"), [(1, 8), (2, 1), (4, 3), (8, 4)])
def test_any_levels_and_points_are_right(levels: int, points: int) -> None:
    shapes = tuple((2 + side, 3 + side) for side in range(levels, 0, -1))
    problem = random_problem(shapes, queries=100, points=points, heads=8)
    assert_results_close(run_triton(problem.to(torch.float32)), run_reference(problem), FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_only_inputs_and_results(dtype: torch.dtype) -> None:
    problem = random_problem(PYRAMID, queries=300, channels=32, heads=8).to(dtype, reference=torch.float32)
    # The rounded output enters the gradient of the logits, so a second rounding is allowed.
    assert_results_close(run_triton(problem), run_reference(problem), 2 * torch.finfo(dtype).eps)


def test_a_query_per_pixel_is_right() -> None:
    problem = random_problem(((60, 80), (30, 40), (15, 20), (8, 10), (4, 5)), images=1, queries=6400, channels=32)
    exact, found = run_reference(problem), run_triton(problem.to(torch.float32))
    for name in ("output", "value", "offsets", "logits"):
        wanted = getattr(exact, name)
        assert (getattr(found, name) - wanted).norm() <= 1e-5 * wanted.norm(), name


def test_deterministic_mode_gives_equal_bits() -> None:
    problem = random_problem(((40, 40), (5, 6), (2, 2)), queries=4000, channels=32, heads=8)
    problem = on_gpu(problem.to(torch.float32))
    torch.use_deterministic_algorithms(True)
    try:
        results = [run_with(problem, backend="triton") for _ in range(5)]
    finally:
        torch.use_deterministic_algorithms(False)
    for result in results[1:]:
        for name in Result.__dataclass_fields__:
            assert torch.equal(getattr(result, name), getattr(results[0], name)), name


def test_deterministic_mode_is_right() -> None:
    problem = random_problem(PYRAMID, queries=163, channels=32, boxes=True)
    torch.use_deterministic_algorithms(True)
    try:
        result = run_triton(problem.to(torch.float32))
    finally:
        torch.use_deterministic_algorithms(False)
    assert_results_close(result, run_reference(problem), FLOAT32)


def test_memory_next_to_the_maps_is_not_touched() -> None:
    problem = random_problem(PYRAMID, queries=50, spread=3.0).to(torch.float32)
    plain = run_triton(problem)
    value = torch.full((problem.value.numel() + 2048,), float("nan"), device="cuda")
    inner = value[1024:-1024].view(problem.value.shape)
    inner.copy_(problem.value)
    padded = on_gpu(problem)
    padded = replace(padded, value=inner)
    assert not run_with(padded, backend="triton").output.isnan().any()
    assert not plain.output.isnan().any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Inductor of torch 2.11
def test_compiled_training_step_equals_eager() -> None:
    problem = on_gpu(random_problem(PYRAMID, queries=90, channels=32, boxes=True).to(torch.float32))

    def loss(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return deformable_attention(value, problem.shapes, reference, 2 * offsets, logits).square().mean()

    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        leaves = [tensor.detach().requires_grad_() for tensor in problem.tensors]
        gradients.append(torch.autograd.grad(function(*leaves), leaves))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_autocast_keeps_the_reference_in_float32() -> None:
    problem = on_gpu(random_problem(((80, 90),), queries=40, channels=32).to(torch.float32))
    half = replace(problem, value=problem.value.bfloat16(), offsets=problem.offsets.bfloat16())
    with torch.autocast("cuda", dtype=torch.bfloat16):
        output = deformable_attention(half.value, half.shapes, half.reference, half.offsets, half.logits)
    exact = deformable_attention(
        *(half.value.double(), half.shapes, half.reference.double(), half.offsets.double(), half.logits.double())
    )
    assert output.dtype == torch.bfloat16
    assert (output - exact).abs().max() < 2**-8 * exact.abs().max()


def test_graph_capture_replays_the_operator() -> None:
    problem = on_gpu(random_problem(PYRAMID, queries=64, channels=32).to(torch.float32))
    value, reference, offsets, logits = problem.tensors
    eager = deformable_attention(value, problem.shapes, reference, offsets, logits)  # warm-up compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = deformable_attention(value, problem.shapes, reference, offsets, logits)
    value.mul_(2)
    graph.replay()
    torch.testing.assert_close(captured, 2 * eager)


def test_tuning_on_request_changes_no_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    problem = random_problem(PYRAMID, queries=64, channels=32)
    monkeypatch.setenv("DETA_AUTOTUNE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "_known", {})
    result = run_triton(problem.to(torch.float32))
    assert len(tuning._known) == len(tuning._read()) == 2
    assert_results_close(result, run_reference(problem), FLOAT32)


@pytest.mark.parametrize(
    ("channels", "boxes", "deterministic", "dtype"),
    [
        (16, True, False, torch.float32),
        (32, False, False, torch.float32),
        (32, False, True, torch.float32),
        (32, False, False, torch.bfloat16),
        (48, False, True, torch.float16),
        (64, True, False, torch.float32),
    ],
)
def test_sums_of_coarse_levels_equal_those_of_single_additions(
    channels: int, boxes: bool, deterministic: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = random_problem(PYRAMID, queries=1100, channels=channels, boxes=boxes, spread=1.4)
    problem = problem.to(dtype, reference=torch.float32)
    exact = run_reference(problem).value
    torch.use_deterministic_algorithms(deterministic)
    try:
        for largest_level in (0, 100, 2000):
            monkeypatch.setattr(backward, "largest_coarse_level", lambda *_, largest=largest_level: largest)
            found = run_triton(problem).value.double()
            limit = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
            assert (found - exact).norm() <= limit * exact.norm(), largest_level
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_operator_passes_the_checks_of_pytorch() -> None:
    problem = on_gpu(random_problem(queries=5).to(torch.float32))
    value, reference, offsets, logits = (tensor.requires_grad_() for tensor in problem.tensors)
    sizes = [side for size in problem.shapes for side in size]
    results = torch.library.opcheck(
        torch.ops.deta.deformable_attention.default, (value, sizes, reference, offsets, logits)
    )
    assert set(results.values()) == {"SUCCESS"}


def test_float64_takes_the_twin_and_float64_by_name_raises() -> None:
    problem = on_gpu(random_problem(queries=5))
    value, reference, offsets, logits = problem.tensors
    assert deformable_attention(value, problem.shapes, reference, offsets, logits).dtype == torch.float64
    with pytest.raises(ValueError, match="float64"):
        deformable_attention(value, problem.shapes, reference, offsets, logits, backend="triton")
