"""Whether the attention operator computes rightly here, and how fast."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from deta_kernels import choose_backend, deformable_attention

LEVELS = ((60, 80), (30, 40), (15, 20), (8, 10))
NUM_HEADS, HEAD_DIM, NUM_POINTS, NUM_QUERIES = 8, 32, 4, 900
MAX_ERROR = 1e-4
"""Above this relative error against float64 the operator is broken: float32 leaves about 1e-6."""


def check_operator() -> None:
    """Print error and speed of every backend on every device.

    Raises:
        ValueError: An error is too large.
    """
    print(f"\nDeformable attention, {NUM_QUERIES} queries, forward and backward, against float64:", flush=True)
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    errors = [_report(torch.device(name)) for name in devices]
    if max(errors) > MAX_ERROR:
        raise ValueError(f"the attention operator is off by {max(errors):.1e}; it must stay below {MAX_ERROR:.0e}")


def _report(device: torch.device) -> float:
    """Print a line for the backend that ``auto`` takes on the device and for the twin; return the largest error."""
    inputs = _inputs()
    expected = _outputs_and_gradients([tensor.double() for tensor in inputs], "reference")
    tensors = [tensor.to(device) for tensor in inputs]
    errors = []
    automatic = choose_backend("auto", device.type, tensors[0].dtype)
    for backend in dict.fromkeys((automatic, "reference")):
        found = [tensor.cpu().double() for tensor in _outputs_and_gradients(tensors, backend)]
        gaps = [float((f - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True)]
        milliseconds = 1e3 * _fastest(partial(_outputs_and_gradients, tensors, backend), device)
        choice = "auto" if backend == automatic else ""
        print(f"  {device!s:<8} {backend:<10} {choice:<5} relative error {max(gaps):.1e}   {milliseconds:8.1f} ms")
        errors.append(max(gaps))
    return max(errors)


def _inputs() -> list[Tensor]:
    """Value, reference, offsets and logits as random float32 tensors."""
    generator = torch.Generator().manual_seed(0)
    num_positions, num_levels = sum(height * width for height, width in LEVELS), len(LEVELS)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return [
        normal(1, num_positions, NUM_HEADS, HEAD_DIM),
        torch.rand(1, NUM_QUERIES, num_levels, 2, generator=generator),
        3 * normal(1, NUM_QUERIES, NUM_HEADS, num_levels, NUM_POINTS, 2),
        normal(1, NUM_QUERIES, NUM_HEADS, num_levels * NUM_POINTS),
    ]


def _outputs_and_gradients(inputs: list[Tensor], backend: str) -> list[Tensor]:
    value, reference, offsets, logits = (tensor.detach().clone().requires_grad_() for tensor in inputs)
    output = deformable_attention(value, LEVELS, reference, offsets, logits, backend=backend)
    output.square().sum().backward()
    gradients = [tensor.grad for tensor in (value, offsets, logits)]
    return [output.detach(), *(gradient for gradient in gradients if gradient is not None)]


def _fastest(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of five calls, after one that is not counted."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
