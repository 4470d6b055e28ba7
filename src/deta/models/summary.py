"""What a detector is made of: parameters and operations of its parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_OPENED = ("body",)
"""Parts whose own parts are told instead."""
_BILINEAR = 5
"""Multiply-adds of a sampled value: four corners and its weight in the sum. Source: arXiv:2010.04159, sec. 4.1."""


@dataclass(frozen=True)
class PartSummary:
    """Of a part of a detector.

    Attributes:
        name: Dotted, as in the configuration; empty for the whole detector.
        num_parameters: All of its weights.
        num_trained: Those that learn.
        flops: Floating-point operations of a forward pass, a multiply-add counting twice; None if not counted.
    """

    name: str
    num_parameters: int
    num_trained: int
    flops: int | None = None


def summarise(detector: nn.Module, size: tuple[int, int] | None = None) -> list[PartSummary]:
    """Sizes of the parts that have weights, in their order, and of the whole detector, which comes last.

    Args:
        detector: On any device; nothing is computed, so that its weights may be large.
        size: Height and width in pixels of an image whose operations are counted, which takes about a second; None
            counts none. Those of matrix products, convolutions, attention and sampling count, as elsewhere.
    """
    parts = {name: part for name, part in _parts(detector) if _num_parameters(part)} | {"": detector}
    flops = {} if size is None else _count(detector, parts, size)
    return [
        PartSummary(
            name,
            _num_parameters(part),
            sum(weight.numel() for weight in part.parameters() if weight.requires_grad),
            flops.get(name, 0) if size is not None else None,
        )
        for name, part in parts.items()
    ]


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if not prefix and name in _OPENED and any(True for _ in child.children()):
            yield from _parts(child, f"{name}.")
        else:
            yield f"{prefix}{name}", child


def _num_parameters(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


def _count(detector: nn.Module, parts: Mapping[str, nn.Module], size: tuple[int, int]) -> dict[str, int]:
    """Operations of every part in a forward pass of tensors without content, in evaluation."""
    was_training = {part: part.training for part in detector.modules()}
    device = next(detector.parameters()).device
    detector.eval()
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), _Counter() as counter:
            images = torch.zeros(1, 3, *size, dtype=torch.uint8, device=device)
            is_padding = torch.zeros(1, *size, dtype=torch.bool, device=device)
            with _watched(parts, counter):
                detector(images, is_padding)
    finally:
        for part, mode in was_training.items():
            part.training = mode
    counted: dict[str, int] = counter.by_part
    return counted


class _Counter(TorchDispatchMode):
    """Adds up the operations of what runs inside: of the part whose module runs innermost, and of all."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch annotates none of it
        self.by_part: dict[str, int] = {}
        self.inside: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - as PyTorch declares it
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        packet = func._overloadpacket
        own = _FORMULAS.get(str(packet))
        number = 0
        if own is not None:
            number = own(args, found)
        elif packet in flop_registry:
            number = int(flop_registry[packet](*args, **kwargs, out_val=found))
        for name in {self.inside[-1], ""} if number and self.inside else ():
            self.by_part[name] = self.by_part.get(name, 0) + number
        return found


@contextmanager
def _watched(parts: Mapping[str, nn.Module], counter: _Counter) -> Iterator[None]:
    owners: dict[nn.Module, str] = {}
    for name, part in parts.items():
        for module in part.modules():
            owners.setdefault(module, name)  # the whole detector comes last
    hooks = []
    for module, name in owners.items():
        hooks.append(module.register_forward_pre_hook(partial(_enter, counter, name)))
        hooks.append(module.register_forward_hook(partial(_leave, counter)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _enter(counter: _Counter, name: str, *_: object) -> None:
    counter.inside.append(name)


def _leave(counter: _Counter, *_: object) -> None:
    counter.inside.pop()


def _of_attention(args: Sequence[Any], output: Tensor) -> int:
    """Every value of the output is a weighted sum over the points of all levels."""
    offsets: Tensor = args[3]  # [B, Q, H, L, P, 2]
    return 2 * _BILINEAR * output.numel() * prod(offsets.shape[3:5])


def _of_regions(args: Sequence[Any], output: Tensor) -> int:
    """Every value of the output is a mean of samples; where their number follows the map it counts as one."""
    samples: int = args[5]
    return 2 * _BILINEAR * output.numel() * max(1, samples) ** 2


def _of_moved_convolution(args: Sequence[Any], output: Tensor) -> int:
    """A convolution, and the sampling of its inputs."""
    weight: Tensor = args[1]  # [C_out, C_in / groups, h, w]
    places = output.shape[0] * prod(output.shape[2:])
    num_inputs = args[0].shape[1] * prod(weight.shape[2:])
    return int(2 * output.numel() * prod(weight.shape[1:]) + 2 * _BILINEAR * places * num_inputs)


_FORMULAS: Mapping[str, Callable[[Sequence[Any], Tensor], int]] = {
    "deta.deformable_attention": _of_attention,
    "deta.pool_regions": _of_regions,
    "torchvision.deform_conv2d": _of_moved_convolution,
}
"""Of operators that PyTorch knows no formula of."""
