"""Reading a state dict from a file and loading it strictly."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deta.utils.torch_file import read_torch_file
from deta.utils.unpickling import Skipped

_log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of numbers that are cast into each other."""


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """State dict of a file: safetensors, or a pickle of it, possibly under ``model`` or ``state_dict``.

    Nothing in the file is executed.

    Raises:
        ValueError: The file does not exist, has another format, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(
            f"weights: file {path} {what}: give another file, or DETA_WEIGHTS, the folder of backbone weights"
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
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
    return dict(content)


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
        is_real = value.dtype in _REAL and own[name].dtype in _REAL
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
