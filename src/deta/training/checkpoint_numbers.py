"""Whether training can go on from the numbers and states of a checkpoint, as far as the file alone tells.

A file may be whole, by its checksums, and hold numbers that are spoilt: written by another program, or computed on a
device that fails. Whether it fits a model is another question, see ``deta.training.continuation``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deta.models.weights import REAL
from deta.training.optim import PARAMETER_NAMES

_MEANS = ("exp_avg", "momentum_buffer")
"""What Adam and SGD remember of each number of a weight, and others, too; what else there is may have any shape."""
_SQUARES = ("exp_avg_sq", "max_exp_avg_sq")
"""Means of squares, of each number or, as in NovoGrad, of a weight as a whole."""


def spoilt_numbers(
    states: Sequence[Mapping[str, object]], optimizers: Sequence[Mapping[str, Any]], prefix: str
) -> list[str]:
    """Names of weights from which no training goes on, each with the reason.

    Args:
        states: Weights by name, such as the trained ones and their averages.
        optimizers: ``optimizer_states`` of a checkpoint, each of which ``is_optimizer_state``; one that does not name
            its parameters is left to who loads it.
        prefix: Begin of the names in ``states`` that those of an optimizer lack.

    Returns:
        One entry for each weight that is NaN or infinite anywhere, that is trained and not real, or that an optimizer
        remembers as NaN, not real or in another shape.
    """
    remembered = dict(_remembered(optimizers))
    found: dict[str, str] = {}
    for state in states:
        for name, value in state.items():
            own = name.removeprefix(prefix) if name.startswith(prefix) else ""
            if not isinstance(value, Tensor):
                found[name] = f"a {type(value).__name__}"
            elif value.is_complex() or (own in remembered and value.dtype not in REAL):
                found[name] = f"numbers of {value.dtype}"
            elif value.dtype in REAL and not torch.isfinite(value).all():
                found[name] = "NaN or infinite"
            elif own in remembered and (reason := _reason(remembered[own], value.shape)) is not None:
                found.setdefault(name, reason)
    return [f"{name} ({reason})" for name, reason in found.items()]


def is_optimizer_state(stored: object) -> bool:
    """Whether it has what every optimizer stores: a state of each parameter that has one, and groups of parameters."""
    states, groups = (stored.get(name) if isinstance(stored, dict) else None for name in ("state", "param_groups"))
    if not isinstance(states, dict) or not all(isinstance(state, dict) for state in states.values()):
        return False
    return isinstance(groups, list) and groups != [] and all(_names_indices(group) for group in groups)


def _remembered(optimizers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Names of trained weights, and what the optimizer remembers of each; nothing before its first step."""
    for optimizer in optimizers:
        for group in optimizer["param_groups"]:
            for index, name in zip(group["params"], group.get(PARAMETER_NAMES) or (), strict=False):
                yield str(name), optimizer["state"].get(index, {})


def _reason(remembered: Mapping[str, object], shape: torch.Size) -> str | None:
    for name, value in remembered.items():
        if name in (*_MEANS, *_SQUARES) and not isinstance(value, Tensor):
            return f"{name} of the optimizer is a {type(value).__name__}"
        if name == "step" and not _counts(value):
            return "step of the optimizer is no number of steps"
        if name not in (*_MEANS, *_SQUARES) or not isinstance(value, Tensor):
            continue
        if value.shape != shape and (name in _MEANS or value.dim()):
            return f"{tuple(shape)}, but {name} of the optimizer is {tuple(value.shape)}"
        if value.dtype not in REAL:
            return f"{name} of the optimizer has numbers of {value.dtype}"
        if torch.isnan(value).any():  # infinity may be met on the way: a squared gradient that overflows
            return f"{name} of the optimizer is NaN"
        if name in _SQUARES and (value < 0).any():
            return f"{name} of the optimizer is negative"
    return None


def _counts(value: object) -> bool:
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return isinstance(number, int | float) and number >= 0


def _names_indices(group: object) -> bool:
    indices = group.get("params") if isinstance(group, dict) else None
    return isinstance(indices, list) and all(type(index) is int for index in indices)
