"""Names by which what is stored finds its place: ``python -m scripts.reference.names FILE RUNS``."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from deta.utils.files import write_text
from scripts.reference.door import compose_training, make_detector, optimizer_groups

DETECTORS = {
    "deta_shapes": ("experiment=deta_shapes",),
    "one_to_one": ("experiment=deta_shapes_one_to_one",),
    "deta_r50": ("experiment=deta_r50_12ep", "model.backbone.weights=null"),
}
NUM_CLASSES = {"deta_shapes": 6, "one_to_one": 6, "deta_r50": 80}


def names_of(name: str) -> dict[str, Any]:
    """Keys of the state dict with shapes, and the groups of the optimizer.

    The parameters of a group stand in their order, as their places among the keys of the state dict.
    """
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose_training(DETECTORS[name], Path(folder))
    with torch.device("meta"):
        detector = make_detector(cfg, NUM_CLASSES[name])
    state = {key: list(value.shape) for key, value in detector.state_dict().items()}
    places = {key: place for place, key in enumerate(state)}
    return {
        "state": state,
        "groups": [
            {"name": group, "lr": lr, "weight_decay": decay, "places": [places[key] for key in parameters]}
            for group, lr, decay, parameters in optimizer_groups(cfg, detector)
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
    content = {**{name: names_of(name) for name in DETECTORS}, "checkpoints": keys}
    write_text(path, json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
