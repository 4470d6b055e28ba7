"""The operators of ``deta.ops`` as those of PyTorch and torchvision, for programs that run without deta."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule

from deta.ops.nms import LARGEST
from deta.ops.regions import pool_uncounted


def without_own_operators(program: ExportedProgram, *, suppression: bool) -> ExportedProgram:
    """The program with plain forms of our operators.

    Args:
        program: As ``trace`` gives it.
        suppression: Whether suppression is replaced, too; ONNX has an operator of its own for it.
    """
    table: dict[Any, Callable[..., Any]] = {torch.ops.deta.pool_regions.default: pool_uncounted}
    if suppression:
        table[torch.ops.deta.grouped_nms.default] = grouped_nms
    present = {node.target for graph in graphs_of(program) for node in graph.nodes}
    needed = {operator: form for operator, form in table.items() if operator in present}
    if not needed and not suppression:
        return program
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)  # of torchvision
        # Where nothing is needed, too: as traced, a program of PyTorch with a context in it cannot be loaded again.
        plain: ExportedProgram = program.run_decompositions(needed)
        return plain


def graphs_of(program: ExportedProgram) -> Iterator[Graph]:
    """That of the program, and those of what is computed in a context, such as without autocast."""
    return (part.graph for part in program.graph_module.modules() if isinstance(part, GraphModule))


def grouped_nms(
    boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, is_candidate: Tensor
) -> Tensor:
    """``deta.ops.nms.grouped_nms``: torchvision's loop once for all images, which are moved apart as groups are."""
    is_sane = (boxes_xyxy.abs() <= LARGEST).all(2) & ~scores.isnan()
    takes_part = is_candidate & is_sane
    boxes = boxes_xyxy.double().masked_fill(~takes_part[..., None], 0)  # [B, N, 4]
    span = boxes.amax() - boxes.amin() + 1
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None] * (groups.amax() + 1)  # [B, 1]
    boxes = boxes + ((groups + image) * span)[..., None]
    rows = takes_part.flatten().nonzero()[:, 0]
    ranks = scores.double().flatten()[rows]
    kept = torch.ops.torchvision.nms(boxes.flatten(0, 1)[rows], ranks, iou_threshold)
    keep = torch.zeros_like(is_candidate).flatten().index_fill(0, rows[kept], True).view_as(is_candidate)
    return torch.where(takes_part, keep, is_candidate)
