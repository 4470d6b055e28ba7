"""What heads of the second stage share."""

from torch import Tensor, nn

from deta.models.roi.proposals import Regions
from deta.utils.checks import require_choice, require_int


class BaseRegionHead(nn.Module):
    """Base class of what predicts classes and boxes of regions.

    Args:
        num_classes: Categories.
        scores: ``softmax`` with "no object" as the last logit, or ``sigmoid`` of every class by itself, without it.

    Attributes:
        num_outputs: Logits of a region.
    """

    def __init__(self, *, num_classes: int, scores: str) -> None:
        super().__init__()
        require_int("num_classes", num_classes, low=1)
        has_background = require_choice("model.body.head.scores", scores, ("softmax", "sigmoid")) == "softmax"
        self.num_outputs = num_classes + int(has_background)

    def forward(self, pooled: Tensor, regions: Regions, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Predict, in float32 also under autocast: in half precision logits tie.

        Args:
            pooled: ``[B, R, D, h, w]`` float32.
            regions: Of which they are.
            frame: ``[B, 4]`` pixels of the unpadded images, ``(width, height, width, height)``.

        Returns:
            ``[B, R, num_outputs]`` logits and ``[B, R, K, 4]`` codes of K boxes for every region.
        """
        raise NotImplementedError
