"""The benchmark scripts on tiny workloads: what they measure, refuse and write."""

import csv
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import cpu, matrix
from benchmarks.timing import interleaved_seconds, markdown_table, spread
from benchmarks.workloads import DISTRIBUTIONS, Workload, make_inputs
from deta_kernels import deformable_attention

TINY = Workload(((6, 8), (3, 4)), images=1, queries=9, heads=2, channels=8, boxes=True)


def wrong_peer(
    value: Tensor, shapes: tuple[tuple[int, int], ...], reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """Adds one thousandth to the operator."""
    return 1.001 * deformable_attention(value, shapes, reference, offsets, logits)


def float32_peer(
    value: Tensor, shapes: tuple[tuple[int, int], ...], reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """The operator, for float32 only."""
    if value.dtype != torch.float32:
        raise RuntimeError("not implemented for this type\nsecond line")
    return deformable_attention(value, shapes, reference, offsets, logits)


@pytest.fixture
def run_matrix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command line that measures one tiny workload on the CPU."""
    monkeypatch.setitem(matrix.WORKLOADS, "D2", TINY)
    command = ["matrix", "--device", "cpu", "--shapes", "D2", "--distributions", "initial"]
    return [*command, "--rounds", "2", "--repeats", "1", "--output", str(tmp_path / "matrix.csv")]


def test_matrix_measures_every_pass_of_every_backend_and_draws_it(
    run_matrix: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peer = "tests.kernels.test_benchmarks:float32_peer"
    figure = tmp_path / "matrix.png"
    arguments = [*run_matrix, "--dtypes", "float32", "bfloat16", "--peer", peer, "--figure", str(figure)]
    monkeypatch.setattr(sys, "argv", arguments)
    matrix.main()
    with (tmp_path / "matrix.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = {(row["dtype"], row["passes"], row["backend"]) for row in rows if row["passes"]}
    ours = {
        (dtype, kind, name)
        for dtype in ("float32", "bfloat16")
        for kind in matrix.PASSES
        for name in ("cpu", "reference")
    }
    assert measured == ours | {("float32", kind, peer) for kind in matrix.PASSES}
    refused = [row for row in rows if not row["passes"]]
    assert [(row["dtype"], row["median_ms"]) for row in refused] == [
        ("bfloat16", "does not run: not implemented for this type")
    ]
    assert all(float(row["median_ms"]) > 0 for row in rows if row["passes"])
    assert all(row["torch"] == torch.__version__ and row["device"] and row["threads"] for row in rows)
    assert figure.stat().st_size > 1000


def test_matrix_does_not_time_a_peer_that_computes_something_else(
    run_matrix: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = "tests.kernels.test_benchmarks:wrong_peer"
    monkeypatch.setattr(sys, "argv", [*run_matrix, "--dtypes", "float32", "--peer", peer])
    with pytest.raises(matrix.WrongResultError, match=r"wrong_peer is wrong on .* relative error 1.0e-03 in output"):
        matrix.main()


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_points_lie_where_the_distribution_says(distribution: str, boxes: bool) -> None:
    size = 40
    workload = Workload(((size, size),), images=1, queries=4000, heads=1, boxes=boxes)
    inputs = make_inputs(workload, distribution=distribution, dtype=torch.float32, device="cpu")
    shift = inputs.offsets[0, :, 0, 0]  # [Q, P, 2] in pixels, or in parts of the box
    if distribution == "initial":
        directions = torch.arange(1.0, 5.0)[:, None] * torch.tensor([1.0, 0.0])
        assert (shift.mean(0) - directions).abs().max() < 0.02
        assert abs(shift.std(0).mean() - 0.1) < 0.01
    elif distribution == "spread":
        assert abs(shift.std() - 2) < 0.1
    else:
        step = inputs.reference[0, :, 0, None, 2:] * size / 8 if boxes else 1.0
        position = inputs.reference[0, :, 0, None, :2] * size + step * shift
        counts = torch.histc(position, bins=4, min=0, max=size) / position.numel()
        assert (counts - 0.25).abs().max() < 0.02


def test_unknown_distribution_is_named() -> None:
    with pytest.raises(ValueError, match="distribution must be one of initial, spread, uniform, got 'flat'"):
        make_inputs(TINY, distribution="flat", dtype=torch.float32, device="cpu")


def test_alternatives_are_called_in_turn() -> None:
    calls: list[str] = []
    seconds = interleaved_seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 5
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_spread_is_median_and_quantiles() -> None:
    assert spread([value / 1e3 for value in range(101)]) == {"median": 50.0, "p20": 20.0, "p80": 80.0}


def test_a_missing_value_is_an_empty_cell() -> None:
    assert markdown_table([{"a": 1}], ["a", "b"]) == "| a | b |\n| --- | --- |\n| 1 |  |"


@pytest.mark.slow
def test_cpu_benchmark_gives_speedup_and_peak_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["cpu", "--rounds", "2", "--output", str(tmp_path / "cpu.csv")])
    threads = torch.get_num_threads()
    try:
        cpu.main()
    finally:
        torch.set_num_threads(threads)
    with (tmp_path / "cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert all(float(row["peak_mb"]) > 0 for row in rows)
    assert all(float(row["speedup"]) == 1 for row in rows if row["backend"] == "reference")
