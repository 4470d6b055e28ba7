"""Random inputs of the operator in the sizes that detectors use."""

from dataclasses import dataclass

import torch
from torch import Tensor

Shapes = tuple[tuple[int, int], ...]

DISTRIBUTIONS = ("initial", "spread", "uniform")
R50_LEVELS: Shapes = ((100, 167), (50, 84), (25, 42), (13, 21), (7, 11))
SQUARE_LEVELS: Shapes = ((80, 80), (40, 40), (20, 20), (10, 10))
SMALL_LEVELS: Shapes = ((64, 64), (32, 32), (16, 16), (8, 8))


@dataclass(frozen=True)
class Workload:
    """Sizes of one call; ``queries`` 0 means one query per pixel, as in an encoder."""

    shapes: Shapes
    images: int
    queries: int = 0
    heads: int = 8
    channels: int = 32
    points: int = 4
    boxes: bool = False

    @property
    def num_pixels(self) -> int:
        """Pixels of all levels."""
        return sum(height * width for height, width in self.shapes)

    @property
    def num_queries(self) -> int:
        """Queries of one image."""
        return self.queries or self.num_pixels


@dataclass(frozen=True)
class Inputs:
    """Arguments of ``deformable_attention`` and an upstream gradient."""

    value: Tensor
    shapes: Shapes
    reference: Tensor
    offsets: Tensor
    logits: Tensor
    upstream: Tensor


def make_inputs(workload: Workload, *, distribution: str, dtype: torch.dtype, device: str, seed: int = 0) -> Inputs:
    """Inputs whose points lie as they do at one stage of training.

    Args:
        workload: Sizes.
        distribution: ``initial`` (the offsets of a new model: one direction per head, 1..P pixels, plus 0.1
            pixel of noise), ``spread`` (normal with 2 pixels) or ``uniform`` (anywhere on the map: the worst
            case for caches).
        dtype: Of all but the reference points, which are float32 at least.
        device: Where the tensors live.
        seed: Of the generator.
    """
    generator = torch.Generator().manual_seed(seed)
    levels, size = len(workload.shapes), (workload.images, workload.num_queries, workload.heads)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    reference = _reference(workload, generator)
    offsets = normal(*size, levels, workload.points, 2)
    if distribution == "initial":
        offsets = 0.1 * offsets + _initial_offsets(workload)
    elif distribution == "spread":
        offsets = 2 * offsets
    elif distribution == "uniform":
        reference[..., :2] = 0.5
        sides = torch.tensor([(width, height) for height, width in workload.shapes])[:, None]
        uniform = torch.rand(offsets.shape, generator=generator) - 0.5
        offsets = uniform * (sides if not workload.boxes else 2 * workload.points / reference[:, :, None, :, None, 2:])
    else:
        raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, got {distribution!r}")
    wide = torch.promote_types(dtype, torch.float32)
    return Inputs(
        value=normal(workload.images, workload.num_pixels, workload.heads, workload.channels).to(device, dtype),
        shapes=workload.shapes,
        reference=reference.to(device, wide),
        offsets=offsets.to(device, dtype),
        logits=normal(*size, levels * workload.points).to(device, dtype),
        upstream=normal(*size, workload.channels).to(device, dtype),
    )


def _reference(workload: Workload, generator: torch.Generator) -> Tensor:
    """``[B, Q, L, 2 or 4]``: the pixel centres for an encoder, else random points or boxes."""
    if workload.queries:
        points = torch.rand(workload.images, workload.queries, 2, generator=generator)
    else:
        grids = [
            torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width)
            for height, width in workload.shapes
        ]
        points = torch.cat(grids).flip(-1).expand(workload.images, -1, -1)
    if workload.boxes:
        sides = 0.05 + 0.3 * torch.rand(points.shape, generator=generator)
        points = torch.cat((points, sides), dim=-1)
    return points[:, :, None].repeat(1, 1, len(workload.shapes), 1)


def _initial_offsets(workload: Workload) -> Tensor:
    """``[H, 1, P, 2]`` as Deformable DETR initialises the bias of its offsets (arXiv:2010.04159, appendix A.4)."""
    angles = torch.arange(workload.heads) * (2 * torch.pi / workload.heads)
    directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    return directions[:, None, None] * torch.arange(1, workload.points + 1)[:, None]
