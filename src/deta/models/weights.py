"""Reading a state dict from a file and loading it strictly."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deta.utils.torch_file import read_torch_file
from deta.utils.unpickling import Skipped

_log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of numbers that are cast into each other."""
_WRAPPERS, _AVERAGES = ("model", "state_dict"), ("ema_model", "model_ema")
"""Keys under which files keep a state dict, and the average of several."""
_COUNTERS = ("total_params", "total_ops")
"""Ends of names that a counter of operations leaves in a state dict."""
_PARALLEL = "module."


def read_state_dict(path: Path | str, *, averaged: bool = False) -> dict[str, Tensor]:
    """State dict of a file: safetensors, or a pickle of it, possibly under ``model`` or ``state_dict``.

    Nothing in the file is executed. The prefix ``module.`` of parallel training is removed, and counters of
    operations are left out; the log says so.

    Args:
        path: The file.
        averaged: Read ``ema_model`` or ``model_ema``, averages of the weights, instead. A file that holds nothing
            else is read so anyway.

    Raises:
        ValueError: The file does not exist, has another format, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(
            f"weights: file {path} {what}: give another file, or the folder that has this one in the variable "
            "DETA_WEIGHTS; backbones of torchvision also take a name such as model.backbone.weights=IMAGENET1K_V1, "
            "which is downloaded, or null, a random start"
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    content = _unwrapped(content, path, averaged)
    if not isinstance(content, dict):
        raise ValueError(
            f"weights: {path} must hold a state dict (name -> tensor), possibly under 'model', got {_kind(content)}"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"weights: {path} must hold a state dict (name -> tensor), possibly under 'model', but {name!r} is "
                f"{_kind(value)}"
            )
    return _plainly_named(content, path)


def _unwrapped(content: object, path: Path, averaged: bool) -> object:
    """The state dict inside a file; the averaged one where it is asked for, or is all that there is."""
    found = _held(content, _AVERAGES)
    if averaged and found is None:
        raise ValueError(f"weights: {path} holds no averaged weights ({' or '.join(_AVERAGES)})")
    if found is not None and (averaged or _held(content, _WRAPPERS) is None):
        _log.info("%s: the averaged weights are read, %s", path, found)
        content = content[found]  # type: ignore[index]  # it is a dictionary
    elif found is not None:
        _log.warning("%s: the averaged weights that it holds beside, %s, are not read", path, found)
    while (key := _held(content, _WRAPPERS)) is not None:
        content = content[key]  # type: ignore[index]  # it is a dictionary
    return content


def _held(content: object, keys: Sequence[str]) -> str | None:
    """The first of the keys under which there is a dictionary."""
    return next((key for key in keys if isinstance(content, dict) and isinstance(content.get(key), dict)), None)


def _plainly_named(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    counters = [name for name in state if name.endswith(_COUNTERS)]
    if counters:
        _log.info("%s: counters of operations are left out: %d, such as %s", path, len(counters), counters[0])
    state = {name: value for name, value in state.items() if not name.endswith(_COUNTERS)}
    if state and all(name.startswith(_PARALLEL) for name in state):
        _log.info("%s: the prefix %s is removed from all names", path, _PARALLEL)
        return {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return state


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"weights: {path} is damaged or no file of safetensors ({error})") from error


def _read_pickled(path: Path) -> object:
    try:
        file = read_torch_file(path, is_published=True)
    except ValueError as error:
        raise ValueError(f"weights: {error}") from error
    if file.skipped:
        _log.warning("%s: values that are no tensors were skipped: %s", path, ", ".join(file.skipped))
    return file.content


def _kind(value: object) -> str:
    return "of a kind that is not read" if isinstance(value, Skipped) else f"a {type(value).__name__}"


def unfit_numbers(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Entries of ``state`` whose numbers cannot stand for those of ``own``, which has the same names and shapes.

    Returns:
        Names with the reason: whole or complex numbers for real ones and the like, NaN or infinite values.
    """
    unfit = []
    for name, value in state.items():
        is_real = value.dtype in REAL and own[name].dtype in REAL
        if not is_real and value.dtype != own[name].dtype:
            unfit.append(f"{name} (numbers of {value.dtype} instead of {own[name].dtype})")
        elif is_real and not torch.isfinite(value).all():
            unfit.append(f"{name} (NaN or infinite)")
    return unfit


def require_fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    *,
    may_be_missing: Collection[str] = (),
    may_be_unused: Collection[str] = (),
) -> None:
    """Compare names, shapes and numbers of ``state`` with those of ``module``.

    Args:
        module: Would take the values.
        state: Name to tensor.
        source: Where the state comes from, for messages.
        may_be_missing: Names that ``state`` may lack.
        may_be_unused: Names that ``state`` may hold although ``module`` does not.

    Raises:
        ValueError: Names the missing, unexpected, misshapen and unusable entries.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(state) - set(may_be_missing))
    unexpected = sorted(set(state) - set(own) - set(may_be_unused))
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    fitting = {name: tensor for name, tensor in state.items() if name in own and not misshapen}
    unfit = unfit_numbers(own, fitting)
    problems = [
        f"{len(names)} {problem}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        for problem, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of wrong shape", misshapen),
            ("not usable", unfit),
        )
        if names
    ]
    if problems:
        raise ValueError(f"weights: {source} does not fit {type(module).__name__}: {'; '.join(problems)}")


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    *,
    may_be_missing: Collection[str] = (),
    may_be_unused: Collection[str] = (),
) -> None:
    """Load ``state`` into ``module`` if it passes ``require_fit``; what it may lack keeps its values."""
    require_fit(module, state, source, may_be_missing=may_be_missing, may_be_unused=may_be_unused)
    own = module.state_dict()
    module.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
