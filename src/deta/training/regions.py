"""Compiling a detector part by part, each kind of part once."""

from collections.abc import Callable
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import nn

from deta.losses import Criterion
from deta.models.region import Region
from deta.ops.random import Draw
from deta.structures import Batch
from deta.training.step import Step, StepResult, step

WHOLE = "max"
"""The step as one graph."""


def require_compile(value: object) -> bool | str:
    """Return ``value`` if it says what to compile.

    Raises:
        ValueError: It does not.
    """
    if not isinstance(value, bool) and value != WHOLE:
        raise ValueError(
            f"compile must be false, true (layer by layer) or {WHOLE} (detector and criterion as one graph), "
            f"got {value!r}"
        )
    return value if isinstance(value, bool) else WHOLE


def compiled_step(
    detector: nn.Module, mode: bool | str, *, with_criterion: bool = True, has_graphs: bool = True
) -> Step:
    """A step that runs compiled code.

    Args:
        detector: Its regions are changed in place where ``mode`` is True.
        mode: False compiles nothing. True compiles every region of the detector and the criterion, for images of any
            size, in a minute or two. ``max`` compiles the whole step as one graph, which takes many minutes.
        with_criterion: Whether True compiles the criterion, many small operations that only a GPU waits for.
        has_graphs: Whether ``max`` may replay its kernels as CUDA graphs where sizes are fixed. Gradients then lie in
            memory that the next step writes over: none may be added to those of a step before.
    """
    if mode == WHOLE:
        return _whole_step(has_graphs=has_graphs)
    if mode:
        compile_regions(detector)
    return _step_of_parts() if mode and with_criterion else step


def _step_of_parts() -> Step:
    measure = torch.compile(Criterion.__call__, dynamic=True)

    def run(detector: nn.Module, criterion: Criterion | None, batch: Batch, draw: Draw) -> StepResult:
        result = step(detector, None, batch, draw)
        if criterion is None:
            return result
        return replace(result, losses=measure(criterion, result.output, batch.targets, draw))

    return run


def _whole_step(*, has_graphs: bool) -> Step:
    # Where sizes vary, a graph would be recorded for each.
    compiled = torch.compile(
        step, options={"triton.cudagraphs": has_graphs, "triton.cudagraph_skip_dynamic_graphs": True}
    )

    def run(detector: nn.Module, criterion: Criterion | None, batch: Batch, draw: Draw) -> StepResult:
        torch.compiler.cudagraph_mark_step_begin()
        result: StepResult = compiled(detector, criterion, batch, draw)
        # Callbacks keep what the next replay writes over.
        return result.map(torch.clone) if has_graphs and batch.images.is_cuda else result

    return run


def regions(detector: nn.Module) -> list[Region]:
    """Every region that has no other inside."""
    found = [part for part in detector.modules() if isinstance(part, Region)]
    return [part for part in found if sum(isinstance(inside, Region) for inside in part.modules()) == 1]


def compile_regions(detector: nn.Module, **options: Any) -> None:  # noqa: ANN401 - of torch.compile
    """Let every region of ``detector`` run what ``torch.compile`` makes of its class, for images of any size.

    The forward method of the class is compiled, not the module: code is looked up by function, and ``Module.compile``
    has one for all modules, whose number of variants is limited. Names of parameters stay, and so do hooks.

    Args:
        detector: Changed in place.
        options: Further ones of ``torch.compile``.
    """
    compiled: dict[type[Region], Callable[..., Any]] = {}
    for part in regions(detector):
        kind = type(part)
        if kind not in compiled:
            compiled[kind] = torch.compile(kind.forward, dynamic=True, **options)
        part.forward = MethodType(compiled[kind], part)
