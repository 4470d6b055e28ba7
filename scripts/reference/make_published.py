"""``python -m scripts.reference.make_published FILE``: a small detector's weights as publications name them."""

import sys
from pathlib import Path

import torch

from scripts.reference.door import compose_training
from scripts.reference.make_stored import SMALL, round_to_bits
from deta.commands.build import make_detector
from deta.models.checkpoint import to_release

WORDS = ("experiment=deta_shapes", *SMALL, "model.backbone.channels=[16,16,16]", "model.proposals.num_classes=6")


def main(path: Path) -> None:
    """Write it; heads that the publications repeat are one tensor."""
    torch.manual_seed(0)
    detector = make_detector(compose_training(WORDS, path.parent).model, 6)
    state = to_release(detector)
    for value in detector.state_dict().values():
        round_to_bits(value, 2)
    torch.save({"model": state}, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
