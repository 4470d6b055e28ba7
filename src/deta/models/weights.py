"""Reading a state dict from a file and loading it strictly."""

import argparse
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deta.utils.unpickling import unpickling_reason

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """State dict of a file: safetensors, or a pickle of it, possibly under ``model`` or ``state_dict``.

    Nothing in the file is executed.

    Raises:
        ValueError: The file does not exist, has another format, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"weights: file {path} does not exist: give another file, or DETA_WEIGHTS, the folder of backbone weights"
        )
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # arguments in published checkpoints
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"weights: {path} must be a PyTorch file of tensors and plain values ({unpickling_reason(error)})"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"weights: {path} must hold a state dict (name -> tensor), possibly under 'model'")
    return dict(content)


def require_fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    *,
    may_be_missing: Collection[str] = (),
    may_be_unused: Collection[str] = (),
) -> None:
    """Compare names and shapes of ``state`` with those of ``module``.

    Args:
        module: Would take the values.
        state: Name to tensor.
        source: Where the state comes from, for messages.
        may_be_missing: Names that ``state`` may lack.
        may_be_unused: Names that ``state`` may hold although ``module`` does not.

    Raises:
        ValueError: Names the missing, unexpected and misshapen entries.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(state) - set(may_be_missing))
    unexpected = sorted(set(state) - set(own) - set(may_be_unused))
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {problem}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        for problem, names in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", misshapen))
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
