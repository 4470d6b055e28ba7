"""Pytest plug-in: the CPU path of the operator is replaced by the Triton kernels in Triton's interpreter.

``test_triton_interpreted.py`` starts the tests of the reference outputs with it.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deta_kernels import backward, cpu, forward

_calls: list[str] = []


def _forward(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    _calls.append("forward")
    return forward.forward(value, _flat(spatial_shapes), reference, offsets, logits)


def _backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    with_reference: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _calls.append("backward")
    inputs = (value, _flat(spatial_shapes), reference, offsets, logits)
    output = forward.forward(*inputs)
    deterministic = torch.are_deterministic_algorithms_enabled()
    return backward.backward(grad_output, output, *inputs, with_reference, deterministic)


def _flat(shapes: Sequence[tuple[int, int]]) -> list[int]:
    return [side for size in shapes for side in size]


@pytest.fixture(autouse=True, scope="session")
def _triton_computes() -> None:
    cpu.forward, cpu.backward = _forward, _backward


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how often the kernels were called, for the process that waits."""
    terminalreporter.write_line(f"forward {_calls.count('forward')} backward {_calls.count('backward')}")
