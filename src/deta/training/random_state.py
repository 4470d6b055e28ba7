"""Random states of a process, as plain data of a checkpoint."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Of Python, NumPy, PyTorch and this rank's CUDA device."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - other people's code draws from it
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on from a state; where it has none of a CUDA device, that of the device stays."""
    random.setstate(state["python"])
    np.random.set_state(_of_numpy(state))  # noqa: NPY002 - that of other people's code goes on, too
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def _of_numpy(state: Mapping[str, Any]) -> tuple[Any, ...]:
    kind, keys, position, has_gauss, gauss = state["numpy"]
    return kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss
