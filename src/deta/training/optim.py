"""Parameter groups: which parameters learn at which rate."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from deta.utils.checks import require_number

PARAMETER_NAMES = "parameter_names"
"""Key of a group under which the names of its parameters stand, in their order."""


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], *, lr: float, lr_factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Group the trainable parameters by learning rate.

    Source: DETR's family trains the backbone and the projections of sampling offsets and reference points at a
    tenth of the rate (arXiv:2010.04159, sec. A.4).

    Args:
        named_parameters: As of ``nn.Module.named_parameters``; frozen ones are left out.
        lr: Base learning rate, at least 0.
        lr_factors: From a part of dotted names (``backbone`` or ``sampling_offsets``) to the factor on ``lr``.
            The first entry that names a component of the parameter's name decides. An entry that fits none
            makes no group: a model with a first stage has no ``reference_points``.

    Returns:
        Groups for a ``torch.optim.Optimizer``, in order of first appearance, with keys ``params``, ``lr``,
        ``name`` and ``PARAMETER_NAMES``.

    Raises:
        ValueError: The rate or a factor is no number or negative.
    """
    require_number("optimizer.lr", lr, low=0)
    for name, factor in lr_factors.items():
        require_number(f"optimizer.lr_factors.{name}", factor, low=0)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        part = next((part for part in lr_factors if part in name.split(".")), "base")
        rate = lr * lr_factors.get(part, 1.0)
        group = groups.setdefault(part, {"params": [], "lr": rate, "name": part, PARAMETER_NAMES: []})
        group["params"].append(parameter)
        group[PARAMETER_NAMES].append(name)
    return list(groups.values())
