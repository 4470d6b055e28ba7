"""What decides the generated pictures; apart from the drawing, so that it costs no import of PyTorch."""

import hashlib
import json
from dataclasses import asdict, dataclass

from deta.utils.checks import require_int

RECIPE_VERSION = 1
"""Raised by every change that alters the pictures, so that no stale folder is read."""


@dataclass(frozen=True)
class ShapesRecipe:
    """What decides the pictures; equal recipes give equal files.

    Attributes:
        num_train: Training images, at least 1.
        num_val: Validation images, at least 1; drawn from other random numbers than the training images.
        seed: Of everything random.
    """

    num_train: int = 800
    num_val: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        require_int("num_train", self.num_train, low=1)
        require_int("num_val", self.num_val, low=1)
        require_int("seed", self.seed, low=0)

    def digest(self) -> str:
        """SHA-256 in hexadecimal, different for every recipe."""
        return hashlib.sha256(json.dumps({**asdict(self), "version": RECIPE_VERSION}).encode()).hexdigest()

    def folder_name(self) -> str:
        """Name of the folder, different for every recipe."""
        return f"shapes-{self.num_train}-{self.num_val}-{self.digest()[:8]}"
