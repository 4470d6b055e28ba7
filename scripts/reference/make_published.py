"""``python -m scripts.reference.make_published FILE``: a small detector's weights as publications name them."""

import sys
from pathlib import Path

import torch

from scripts.reference.door import compose_training, make_detector, published_state
from scripts.reference.make_stored import SMALL, round_to_bits

NUM_CLASSES = 91
"""Of publications for COCO, in both stages."""
WORDS = ("experiment=deta_shapes", *SMALL, f"model.proposals.num_classes={NUM_CLASSES}")


def main(path: Path) -> None:
    """Write it; heads that the publications repeat are one tensor."""
    torch.manual_seed(0)
    detector = make_detector(compose_training(WORDS, path.parent), NUM_CLASSES)
    state = published_state(detector)
    for value in detector.state_dict().values():
        round_to_bits(value, 1)
    torch.save({"model": state}, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
