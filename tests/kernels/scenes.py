"""Random inputs of the deformable attention operator, and the same result by slow, independent loops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deta_kernels import deformable_attention
from deta_kernels.reference import deformable_attention_reference

Shapes = tuple[tuple[int, int], ...]
ODD_LEVELS: Shapes = ((7, 9), (4, 3), (1, 1))


@dataclass(frozen=True)
class Problem:
    """Arguments of ``deformable_attention`` with an upstream gradient ``[B, Q, H, D]``."""

    value: Tensor
    shapes: Shapes
    reference: Tensor
    offsets: Tensor
    logits: Tensor
    upstream: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.value, self.reference, self.offsets, self.logits

    def to(self, dtype: torch.dtype, *, reference: torch.dtype | None = None) -> "Problem":
        """The same numbers in another dtype; ``reference`` chooses that of the reference points."""
        return replace(
            self,
            value=self.value.to(dtype),
            reference=self.reference.to(reference or dtype),
            offsets=self.offsets.to(dtype),
            logits=self.logits.to(dtype),
            upstream=self.upstream.to(dtype),
        )


@dataclass(frozen=True)
class Result:
    """Output and gradients of value, reference, offsets and logits."""

    output: Tensor
    value: Tensor
    reference: Tensor
    offsets: Tensor
    logits: Tensor


def random_problem(
    shapes: Shapes = ODD_LEVELS,
    *,
    images: int = 2,
    queries: int = 11,
    heads: int = 3,
    channels: int = 8,
    points: int = 4,
    boxes: bool = False,
    spread: float = 1.0,
    seed: int = 0,
) -> Problem:
    """Float64 inputs that float32 holds exactly; ``spread`` scales how far points lie from the map's centre.

    No sampling point lies within 0.01 pixel of a pixel centre, where the gradient of the location jumps.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    levels = len(shapes)
    pixels = sum(height * width for height, width in shapes)
    reference = 0.5 + spread * (torch.rand(images, queries, levels, 2, generator=generator) - 0.5)
    if boxes:
        sizes = 0.1 + 0.5 * torch.rand(images, queries, levels, 2, generator=generator)
        reference = torch.cat((reference, sizes), dim=-1)
    offsets = _away_from_centres(shapes, reference, 2 * normal(images, queries, heads, levels, points, 2))
    problem = Problem(
        value=normal(images, pixels, heads, channels),
        shapes=shapes,
        reference=reference,
        offsets=offsets,
        logits=normal(images, queries, heads, levels * points),
        upstream=normal(images, queries, heads, channels),
    )
    return problem.to(torch.float64)


def run_with(problem: Problem, *, backend: str) -> Result:
    """``deformable_attention`` and its gradients in the dtypes of the problem."""
    leaves = [tensor.detach().requires_grad_() for tensor in problem.tensors]
    output = deformable_attention(leaves[0], problem.shapes, *leaves[1:], backend=backend)
    gradients = torch.autograd.grad(output, leaves, problem.upstream)
    assert all(gradient.dtype == leaf.dtype for gradient, leaf in zip(gradients, leaves, strict=True))
    return Result(output.detach(), *gradients)


def run_reference(problem: Problem) -> Result:
    """The plain PyTorch twin in float64 (on the numbers as they are, for half precision too)."""
    leaves = [tensor.detach().double().requires_grad_() for tensor in problem.tensors]
    output = deformable_attention_reference(leaves[0], problem.shapes, *leaves[1:])
    gradients = torch.autograd.grad(output, leaves, problem.upstream.double())
    return Result(output.detach(), *gradients)


def loop_attention(problem: Problem) -> Tensor:
    """The output by Python loops over every query, head, point and corner."""
    images, queries, heads, levels, points, _ = problem.offsets.shape
    output = torch.zeros_like(problem.upstream)
    weights = problem.logits.softmax(-1).view(images, queries, heads, levels, points)
    for index in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        image, query, head, level, _ = index
        x, y = _pixel(problem, index)
        for column in (math.floor(x), math.floor(x) + 1):
            for row in (math.floor(y), math.floor(y) + 1):
                height, width = problem.shapes[level]
                if 0 <= column < width and 0 <= row < height:
                    pixel = _first_pixel(problem.shapes, level) + row * width + column
                    weight = weights[tuple(index)] * (1 - abs(x - column)) * (1 - abs(y - row))
                    output[image, query, head] += weight * problem.value[image, pixel, head]
    return output


def assert_results_close(found: Result, expected: Result, tolerance: float) -> None:
    """Every tensor of ``found`` differs by at most ``tolerance`` times the largest expected magnitude (or 1)."""
    for name in Result.__dataclass_fields__:
        ours, theirs = getattr(found, name).double(), getattr(expected, name)
        assert ours.shape == theirs.shape, name
        error = (ours - theirs).abs().max().item() if theirs.numel() else 0.0
        scale = max(1.0, theirs.abs().max().item()) if theirs.numel() else 1.0
        assert error <= tolerance * scale, f"{name}: error {error:.2e} at magnitude {scale:.2e}"


def _pixel(problem: Problem, index: Sequence[int]) -> tuple[float, float]:
    image, query, _, level, _ = index
    height, width = problem.shapes[level]
    shift_x, shift_y = problem.offsets[tuple(index)].tolist()
    x, y, *size = problem.reference[image, query, level].tolist()
    if size:
        points = problem.offsets.shape[4]
        return (x + shift_x / points * size[0] / 2) * width - 0.5, (y + shift_y / points * size[1] / 2) * height - 0.5
    return x * width + shift_x - 0.5, y * height + shift_y - 0.5


def _first_pixel(shapes: Shapes, level: int) -> int:
    return sum(height * width for height, width in shapes[:level])


def _away_from_centres(shapes: Shapes, reference: Tensor, offsets: Tensor) -> Tensor:
    """Move points that are within 0.01 pixel of a pixel centre, along x or y, by about 0.03 pixel."""
    sizes = torch.tensor([(width, height) for height, width in shapes]).float().clamp(min=1)[:, None]
    step = torch.ones_like(offsets)
    if reference.shape[-1] == 4:
        step = step * (reference[:, :, None, :, None, 2:] * sizes / (2 * offsets.shape[4]))
    pixels = reference[:, :, None, :, None, :2] * sizes - 0.5 + step * offsets
    distance = pixels - pixels.round()
    return torch.where(distance.abs() < 0.01, offsets + 0.03 / step, offsets)
