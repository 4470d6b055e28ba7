"""A detector that finds what is bright, for tests of what stands around a detector."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor, nn

from deta.data.images import ImageRules
from deta.data.sample import Sample
from deta.inference import Predictor
from deta.models.postprocess import TopK
from deta.structures import DetectionOutput, Prediction, StageKey

NAMES = ("cat", "../dog", "unused")


class Bright(nn.Module):
    """Two boxes of every image: its left half, of class 0 with the mean of red as score, and all of it, of class 1.

    Args:
        seen: Called with every batch ``[B, 3, H, W]``.
    """

    def __init__(self, seen: Callable[[Tensor], object] = lambda _: None) -> None:
        super().__init__()
        self._seen = seen

    def forward(self, images: Tensor, is_padding: Tensor) -> DetectionOutput:
        assert not is_padding.any()
        self._seen(images)
        score = images[:, 0].float().mean(dim=(1, 2)).div(255).clamp(0.01, 0.99)  # [B]
        logits = images.new_full((len(images), 2, len(NAMES)), -20.0, dtype=torch.float32)
        logits[:, 0, 0] = score.logit()
        logits[:, 1, 1] = (score / 2).logit()
        boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1.2, 1.2]]).expand(len(images), 2, 4)
        key = StageKey("layers", 0)
        frame = torch.ones(len(images), 4)
        return DetectionOutput({key: Prediction(logits, boxes, boxes, frame)}, key)


def keep(sample: Sample, generator: Generator) -> Sample:
    """A transform that changes nothing."""
    return sample


def predictor(seen: Callable[[Tensor], object] = lambda _: None, **options: object) -> Predictor:
    """A predictor of two classes and one that stands for no category."""
    return Predictor(
        detector=Bright(seen).eval(),
        postprocess=TopK(max_detections=2),
        transform=keep,
        names=NAMES,
        category_ids=(3, 7, None),
        rules=ImageRules(exif="apply", **options),  # type: ignore[arg-type]  # whichever a test sets
    )


def grey(path: Path, level: int, *, height: int = 20, width: int = 40) -> Path:
    """Write an image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, dtype=np.uint8)).save(path)
    return path
