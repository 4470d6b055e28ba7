"""Names by which what is stored finds its place: ``python -m scripts.reference.names FILE``, with the code beside it."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.reference.door import compose_training
from deta.commands.build import make_detector
from deta.engine.optim import PARAMETER_NAMES, parameter_groups
from deta.utils.files import write_json

DETECTORS = {
    "deta_shapes": ("experiment=deta_shapes",),
    "one_to_one": ("experiment=deta_shapes_one_to_one",),
    "deta_r50": ("experiment=deta_r50_12ep", "model.backbone.weights=null"),
}
NUM_CLASSES = {"deta_shapes": 6, "one_to_one": 6, "deta_r50": 80}


def names_of(name: str) -> dict[str, Any]:
    """Keys of the state dict with shapes, and the groups of the optimizer with the order of their parameters."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose_training(DETECTORS[name], Path(folder))
    with torch.device("meta"):
        detector: nn.Module = make_detector(cfg.model, NUM_CLASSES[name])
    factors = {str(part): float(factor) for part, factor in cfg.optimizer.lr_factors.items()}
    groups = parameter_groups(detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=factors)
    optimizer = torch.optim.AdamW(groups, weight_decay=cfg.optimizer.make.weight_decay)
    return {
        "state": {key: list(value.shape) for key, value in detector.state_dict().items()},
        "groups": [
            {key: group[key] for key in ("name", "lr", "weight_decay", PARAMETER_NAMES)}
            for group in optimizer.param_groups
        ],
    }


def keys_of(checkpoint: Path) -> dict[str, Any]:
    """Keys of a whole checkpoint, of the states of its callbacks, and of averages."""
    content = torch.load(checkpoint, weights_only=True)
    return {
        "top": sorted(content),
        "callbacks": {key: sorted(state) for key, state in content["callbacks"].items()},
        "averaged": sorted(content.get("averaging_state", {})),
        "trained": sorted(content.get("current_model_state", {})),
    }


def main(path: Path, runs: Sequence[Path]) -> None:
    """Write the names of all detectors, and the keys of the checkpoints of these runs."""
    keys = {run.name: keys_of(run / "checkpoints" / "last.ckpt") for run in runs}
    write_json(path, {**{name: names_of(name) for name in DETECTORS}, "checkpoints": keys})


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
