"""Plain forms and ONNX forms of our operators give what the operators give."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.nn import functional

from deta.export import plain
from deta.export.files import load
from deta.export.onnx_operators import OPSET, translations
from deta.ops.nms import grouped_nms
from deta.ops.regions import pool_regions, pool_uncounted

Inputs = tuple[Tensor, ...]


def crowded(seed: int) -> Inputs:
    """Boxes in three groups of two images, many of which overlap, with tied scores and some that take no part."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, 40, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + 4 + torch.rand(2, 40, 2, generator=generator) * 30), dim=-1)
    scores = torch.randint(-3, 4, (2, 40), generator=generator) / 4  # logits, negative ones among them
    groups = torch.randint(0, 3, (2, 40), generator=generator)
    return boxes, scores, groups, torch.rand(2, 40, generator=generator) < 0.8


def strange() -> Inputs:
    """The same with boxes and scores that have no part in suppression."""
    boxes, scores, groups, is_candidate = crowded(5)
    boxes[0, 3, 1], boxes[0, 7] = torch.nan, 1e9
    scores[1, 2] = torch.nan
    boxes[1, 5, 2:] = boxes[1, 5, :2]
    return boxes, scores, groups, is_candidate


CASES = {"crowded": crowded(0), "crowded otherwise": crowded(1), "strange": strange()}


@pytest.mark.parametrize("case", CASES)
def test_plain_suppression_keeps_what_ours_keeps(case: str) -> None:
    boxes, scores, groups, is_candidate = CASES[case]
    expected = grouped_nms(boxes, scores, groups, 0.5, is_candidate)
    assert expected.any()
    assert not expected.all()
    assert torch.equal(plain.grouped_nms(boxes, scores, groups, 0.5, is_candidate), expected)


@pytest.mark.parametrize("aligned", [False, True])
def test_plain_pooling_reads_what_ours_reads(aligned: bool) -> None:
    maps, boxes, levels = regions()
    rows = torch.cat((torch.arange(2.0)[:, None, None].expand(2, 9, 1), boxes), dim=-1).flatten(0, 1)  # [18, 5]
    found = pool_uncounted(maps, rows, levels.flatten(), [0.25, 0.125], 3, 2, aligned)
    expected = pool_regions(maps, boxes, levels, [0.25, 0.125], 3, 2, aligned=aligned)
    torch.testing.assert_close(found, expected.flatten(0, 1), rtol=0, atol=0)


class InContext(nn.Module):
    """Pooling in float32 whatever is around it, which is a graph of its own in a program."""

    def forward(self, first: Tensor, second: Tensor, boxes: Tensor, levels: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return pool_regions([first, second], boxes, levels, [0.25, 0.125], 3, 2, aligned=False)


def operators(program: ExportedProgram) -> set[str]:
    """Names of all that a program calls, in every context."""
    graphs = (part.graph for part in program.graph_module.modules() if isinstance(part, GraphModule))
    return {str(node.target) for graph in graphs for node in graph.nodes}


def test_our_operators_are_replaced_in_every_context() -> None:
    maps, boxes, levels = regions()
    with torch.no_grad():
        program = torch.export.export(InContext(), (*maps, boxes, levels))
        found = plain.without_own_operators(program, suppression=True)
    assert "deta.pool_regions.default" in operators(program)
    assert "deta.pool_regions.default" not in operators(found)
    torch.testing.assert_close(found.module()(*maps, boxes, levels), InContext()(*maps, boxes, levels))


def regions() -> tuple[list[Tensor], Tensor, Tensor]:
    """Two maps of two images, and nine regions in each, some of which leave it."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 4, side, side, generator=generator) for side in (16, 8)]
    corner = torch.rand(2, 9, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + 40 * torch.rand(2, 9, 2, generator=generator)), dim=-1)
    return maps, boxes, torch.randint(0, 2, (2, 9), generator=generator)


class Every(nn.Module):
    """All operators that are translated, so that one file tells of all."""

    def forward(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, is_candidate: Tensor, feature: Tensor, offset: Tensor
    ) -> Inputs:
        keep = grouped_nms(boxes, scores, groups, 0.5, is_candidate)
        kept_first = (~keep).byte().argsort(dim=1, stable=True)
        flags = is_candidate.view(torch.uint8).view(torch.bool)
        rows = torch.cat((torch.zeros_like(boxes[0, :, :1]), boxes[0].nan_to_num(0.0).clamp(0, 60)), dim=-1)
        pooled = [torch.ops.torchvision.roi_align(feature, rows, 0.25, 3, 3, 2, aligned) for aligned in (False, True)]
        moved = torch.ops.torchvision.deform_conv2d(
            feature, torch.ones(4, 1, 1, 1), offset, offset.new_zeros(1, 1), torch.zeros(4),
            *(1, 1, 0, 0, 1, 1, 4, 4, False),
        )  # fmt: skip
        logs = functional.logsigmoid(60 * offset)
        return keep, kept_first, flags, *pooled, moved, logs


@pytest.fixture(scope="module")
def in_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Inputs], list[Tensor]]:
    """``Every`` in ONNX Runtime."""
    path = tmp_path_factory.mktemp("onnx") / "operators.onnx"
    with torch.no_grad():
        program = torch.export.export(Every(), (*CASES["crowded"], *maps()))
    names = [f"input{number}" for number in range(6)]
    written = torch.onnx.export(
        program,
        dynamo=True,
        input_names=names,
        custom_translation_table=dict(translations()),
        opset_version=OPSET,
        verbose=False,
    )
    assert written is not None
    written.save(path)
    return load(path, "onnx", names)


def maps() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 4, 16, 16, generator=generator), 3 * torch.randn(1, 8, 16, 16, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_operators_in_onnx_give_what_ours_give(case: str, in_onnx: Callable[[Inputs], list[Tensor]]) -> None:
    inputs = (*CASES[case], *maps())
    expected = Every()(*inputs)
    found = in_onnx(inputs)
    for name, own, other in zip(("keep", "order", "flags"), expected[:3], found[:3], strict=True):
        assert torch.equal(other, own), name
    for own, other in zip(expected[3:], found[3:], strict=True):
        torch.testing.assert_close(other, own, rtol=1e-4, atol=1e-5)  # sums of four samples in float32
