"""What a finished training has come to, in a form that does not depend on the names of its parts."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CLOCKS = ("time", "images_per_second", "data_wait", "seconds")
"""Parts of the names of metrics that no two runs share."""


def outcome(run: Path) -> dict[str, Any]:
    """Final weights as a hash and a norm, and all rows of metrics that do not tell the time."""
    from deta.engine.tracking import CLOCK_KEYS, read_metrics

    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    rows = [
        {name: value for name, value in row.items() if name not in CLOCK_KEYS and not any(c in name for c in CLOCKS)}
        for row in read_metrics(run / "metrics.jsonl")
    ]
    return {"step": content["global_step"], **describe(content["state_dict"]), "rows": rows}


def describe(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Hash of all tensors, in whatever order and under whatever names they lie there, and their norm."""
    digests = sorted(
        hashlib.sha256(f"{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes()).hexdigest()
        for value in state.values()
    )
    norm = float(torch.stack([value.double().square().sum() for value in state.values()]).sum().sqrt())
    return {"weights": hashlib.sha256("".join(digests).encode()).hexdigest(), "norm": norm}
