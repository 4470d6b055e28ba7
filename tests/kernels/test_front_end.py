"""What ``deformable_attention`` accepts, refuses, chooses and says."""

import logging
import subprocess
import sys
from typing import Any

import pytest
import torch

import deta_kernels
from deta_kernels import choose_backend, deformable_attention
from tests.kernels.scenes import Problem, random_problem


def attend(problem: Problem, changes: dict[str, Any] | None = None) -> torch.Tensor:
    value, reference, offsets, logits = problem.tensors
    arguments: dict[str, Any] = {
        "value": value,
        "spatial_shapes": problem.shapes,
        "reference": reference,
        "offsets": offsets,
        "logits": logits,
    }
    return deformable_attention(**(arguments | (changes or {})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": torch.zeros(2, 76, 3)}, "value must be"),
        ({"offsets": torch.zeros(2, 11, 3, 12, 2)}, "offsets \\[B, Q, H, L, P, 2\\]"),
        ({"reference": torch.zeros(2, 11, 3, 3)}, "reference must be"),
        ({"reference": torch.zeros(2, 10, 3, 2)}, "reference must have shape \\(2, 11, 3, 2\\)"),
        ({"logits": torch.zeros(2, 11, 3, 13)}, "logits must have shape \\(2, 11, 3, 12\\)"),
        ({"offsets": torch.zeros(2, 11, 4, 3, 4, 2)}, "offsets must have shape"),
        ({"value": torch.zeros(2, 75, 3, 8)}, "areas of spatial_shapes must sum to the 75"),
        ({"spatial_shapes": ((7, 9), (4, 3))}, "3 levels"),
        ({"spatial_shapes": ((7, 9), (4, 3), (-1, -1))}, "negative"),
        ({"spatial_shapes": torch.tensor([[7, 9], [4, 3], [1, 1]])}, "tolist"),
        ({"value": torch.zeros(2, 76, 3, 8, dtype=torch.int64)}, "value must be float16"),
        ({"logits": torch.zeros(2, 11, 3, 12, dtype=torch.float64)}, "all be float64 or none"),
        ({"offsets": torch.zeros(2, 11, 3, 3, 4, 2, device="meta")}, "offsets must be on cpu"),
        ({"spatial_shapes": ((7.0, 9.0), (4, 3), (1, 1))}, "integers"),
        ({"spatial_shapes": (7, 9, 4)}, "integers"),
        ({"value": torch.zeros(2, 76, 3, 8).to_sparse()}, "value must be a dense tensor, got torch.sparse_coo"),
        ({"backend": "cuda"}, "backend must be one of auto, cpu, triton, reference"),
        ({"backend": "triton"}, "'triton' needs cuda tensors, got cpu"),
    ],
)
def test_wrong_argument_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attend(random_problem().to(torch.float32), changes)


def test_choice_of_backend_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    deta_kernels._announce.cache_clear()
    problem = random_problem().to(torch.float32)
    with caplog.at_level(logging.INFO, logger="deta_kernels"):
        for _ in range(3):
            attend(problem)
    assert [record.getMessage() for record in caplog.records] == [
        "deformable attention: backend cpu (asked for auto) on cpu, torch.float32"
    ]


@pytest.mark.parametrize(
    ("device", "dtype", "chosen"),
    [
        ("cpu", torch.float64, "cpu"),
        ("cuda", torch.bfloat16, "triton"),
        ("cuda", torch.float64, "reference"),
        ("mps", torch.float32, "reference"),
    ],
)
def test_auto_takes_the_fastest_backend_that_runs(device: str, dtype: torch.dtype, chosen: str) -> None:
    assert choose_backend("auto", device, dtype) == chosen


def test_backend_chosen_by_name_does_not_fall_back() -> None:
    with pytest.raises(ValueError, match="float64"):
        choose_backend("triton", "cuda", torch.float64)
    with pytest.raises(ValueError, match="needs cpu tensors"):
        choose_backend("cpu", "cuda", torch.float32)


def test_import_loads_no_compiler() -> None:
    code = "import sys, deta_kernels; print([m for m in ('numba', 'triton', 'deta') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
