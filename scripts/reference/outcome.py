"""What a finished training has come to, in a form that does not depend on the names of its parts."""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.reference.door import metric_rows


def outcome(run: Path) -> dict[str, Any]:
    """Steps, final weights as ``describe`` tells them, and all rows of metrics, in 8 digits."""
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    rows = [{name: _short(value) for name, value in row.items()} for row in metric_rows(run)]
    return {"step": content["global_step"], **describe(content["state_dict"]), "rows": rows}


def describe(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Hash of all tensors, in whatever order and under whatever names they lie there, and their norms, sorted."""
    digests = sorted(
        hashlib.sha256(f"{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes()).hexdigest()
        for value in state.values()
    )
    norms = sorted(_short(float(value.double().norm())) for value in state.values())
    return {"weights": hashlib.sha256("".join(digests).encode()).hexdigest(), "norms": norms}


def _short(value: Any) -> Any:  # noqa: ANN401 - a value of a row
    return float(f"{value:.8g}") if isinstance(value, float) else value


if __name__ == "__main__":  # RUN FILE
    Path(sys.argv[2]).write_text(json.dumps(outcome(Path(sys.argv[1]))))
