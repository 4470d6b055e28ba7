"""Features of boxes."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from deta.ops.regions import pool_regions

SCALES = [0.25, 0.125]


def scene(dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 16 >> level, 24 >> level, generator=generator, dtype=dtype) for level in range(2)]
    boxes = torch.rand(2, 5, 4, generator=generator, dtype=dtype) * 40
    boxes = torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)
    return [feature.requires_grad_() for feature in maps], boxes, torch.tensor([[0, 1, 0, 1, 1], [1, 1, 0, 0, 0]])


def test_every_box_is_read_from_its_image_and_level_as_torchvision_reads_it() -> None:
    maps, boxes, levels = scene()
    for samples, aligned in ((2, False), (0, True)):
        found = pool_regions(maps, boxes, levels, SCALES, 7, samples, aligned=aligned)
        weights = torch.randn_like(found)
        expected = torch.stack(
            [
                torch.cat(
                    [
                        roi_align(maps[level][image, None], [box[None]], 7, SCALES[level], samples, aligned)
                        for box, level in zip(boxes[image], levels[image].tolist(), strict=True)
                    ]
                )
                for image in range(2)
            ]
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        of_found, of_expected = (torch.autograd.grad((out * weights).sum(), maps) for out in (found, expected))
        for gradient, other in zip(of_found, of_expected, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)


def test_a_level_without_boxes_has_no_gradient_and_no_box_no_features() -> None:
    maps, boxes, levels = scene()
    pooled = pool_regions(maps, boxes, torch.zeros_like(levels), SCALES, 2, 2, aligned=False)
    _, unread = torch.autograd.grad(pooled.sum(), maps)
    assert not unread.any()
    nothing = pool_regions(maps, boxes[:, :0], levels[:, :0], SCALES, 2, 2, aligned=False)
    assert nothing.shape == (2, 0, 3, 2, 2)


def test_gradients_are_those_of_finite_differences() -> None:
    maps, boxes, levels = scene(torch.float64)
    assert torch.autograd.gradcheck(
        lambda *given: pool_regions(given, boxes, levels, SCALES, 2, 2, aligned=False), maps, fast_mode=True
    )


def test_a_compiled_function_is_one_graph_that_gives_the_same() -> None:
    torch.compiler.reset()
    maps, boxes, levels = scene()

    def pooled(*given: Tensor) -> Tensor:
        return pool_regions(given, boxes, levels, SCALES, 2, 2, aligned=False)

    compiled = torch.compile(pooled, fullgraph=True, backend="aot_eager")
    gradients = [torch.autograd.grad(function(*maps).square().sum(), maps) for function in (pooled, compiled)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)
    torch.compiler.reset()


@pytest.mark.gpu
@pytest.mark.parametrize(("samples", "aligned"), [(2, False), (0, True)])
def test_a_gpu_reads_and_adds_what_a_cpu_does(samples: int, aligned: bool) -> None:
    maps, boxes, levels = scene()
    results = []
    for device in ("cpu", "cuda"):
        moved = [feature.detach().to(device).requires_grad_() for feature in maps]
        pooled = pool_regions(moved, boxes.to(device), levels.to(device), SCALES, 7, samples, aligned=aligned)
        results.append([pooled, *torch.autograd.grad(pooled.square().sum(), moved)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
