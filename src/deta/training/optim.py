"""Parameter groups: which parameters learn at which rate, and which of them decay."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from deta.utils.checks import require_bool, require_choice, require_number

PARAMETER_NAMES = "parameter_names"
"""Key of a group under which the names of its parameters stand, in their order."""
KINDS = ("norm", "shift", "bias")
"""Parameters that may have settings of their own: scale and shift of norms, that shift alone, biases of all else."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    lr_factors: Mapping[str, float] | None = None,
    weight_decays: Mapping[str, float] | None = None,
    kind_factors: Mapping[str, float] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Group the trainable parameters by learning rate and, where kinds of them have their own, by weight decay.

    Source: DETR's family trains the backbone and the projections of sampling offsets and reference points at a
    tenth of the rate (arXiv:2010.04159, sec. A.4); mmdetection's FCOS its biases at twice the rate, without decay.

    Args:
        named_parameters: As of ``nn.Module.named_parameters``; frozen ones are left out.
        lr: Base learning rate, at least 0.
        lr_factors: From a part of dotted names (``backbone`` or ``sampling_offsets``) to the factor on ``lr``.
            The first entry that names a component of the parameter's name decides. An entry that fits none
            makes no group: a model with a first stage has no ``reference_points``.
        weight_decays: From one of ``KINDS`` to the weight decay of its parameters, at least 0; all others have that
            of the optimizer. A shift without an entry has that of ``norm``.
        kind_factors: From one of ``KINDS`` to a further factor on ``lr``, at least 0; likewise.
        kinds: Of the parameters that have one, by name, see ``parameter_kinds``.

    Returns:
        Groups for a ``torch.optim.Optimizer``, in order of first appearance, with keys ``params``, ``lr``,
        ``name``, ``PARAMETER_NAMES`` and, where it is one of ``weight_decays``, ``weight_decay``.

    Raises:
        ValueError: The rate, a factor or a weight decay is no number or negative, or a kind is unknown.
    """
    lr_factors, decays, rates, kinds = lr_factors or {}, weight_decays or {}, kind_factors or {}, kinds or {}
    require_number("optimizer.lr", lr, low=0)
    for name, factor in lr_factors.items():
        require_number(f"optimizer.lr_factors.{name}", factor, low=0)
    for option, table in (("weight_decays", decays), ("kind_factors", rates)):
        for kind, value in table.items():
            require_choice(f"optimizer.{option}: each key", kind, KINDS)
            require_number(f"optimizer.{option}.{kind}", value, low=0)
    if "shift" in decays or "shift" in rates:
        decays, rates = ({"shift": table["norm"], **table} if "norm" in table else table for table in (decays, rates))
    else:
        kinds = {name: "norm" if kind == "shift" else kind for name, kind in kinds.items()}
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        part = next((part for part in lr_factors if part in name.split(".")), "base")
        kind = kinds.get(name, "")
        rate = lr * lr_factors.get(part, 1.0) * rates.get(kind, 1.0)
        own = {"weight_decay": decays[kind]} if kind in decays else {}
        title = f"{part}/{kind}" if kind in decays or kind in rates else part
        group = groups.setdefault(title, {"params": [], "lr": rate, "name": title, **own, PARAMETER_NAMES: []})
        group["params"].append(parameter)
        group[PARAMETER_NAMES].append(name)
    return list(groups.values())


def parameter_kinds(module: nn.Module) -> dict[str, str]:
    """Which of ``KINDS`` the parameters of a module are, by name; weights of anything but norms are of none."""
    kinds: dict[str, str] = {}
    for path, part in module.named_modules():
        for name, _ in part.named_parameters(prefix=path, recurse=False):
            if isinstance(part, _NORMS):
                kinds[name] = "shift" if name.endswith("bias") else "norm"
            elif name.endswith("bias"):
                kinds[name] = "bias"
    return kinds


def with_fused_step(make: Callable[..., Optimizer], fused: bool | None) -> Callable[..., Optimizer]:
    """``make`` with a step that is one kernel for many parameters, in place of some ten for each few.

    Args:
        make: Makes an optimizer of groups of parameters.
        fused: Whether it has that step; None: where all parameters are on a GPU and ``make`` takes ``fused``.

    Raises:
        ValueError: ``fused`` is true, and ``make`` takes no such argument.
    """
    if fused is not None:
        require_bool("optimizer.fused", fused)
    try:
        takes_it = "fused" in inspect.signature(make).parameters
    except ValueError:  # it has arguments that it does not take, which making it tells in its own words
        takes_it = False
    if fused and not takes_it:
        raise ValueError("optimizer.fused=true needs an optimizer that has such a step, such as torch.optim.AdamW")
    is_told = "fused" in getattr(make, "keywords", {})
    if fused is False or is_told or not takes_it:
        return make

    def made(groups: Iterable[dict[str, Any]]) -> Optimizer:
        groups = list(groups)
        is_on_gpu = all(parameter.is_cuda for group in groups for parameter in group["params"])
        optimizer = make(groups, fused=True if fused else is_on_gpu or None)
        # It could undo the scaling of float16 too, but gradients are clipped before it: Lightning refuses both at once.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        return optimizer

    return made
