"""The head of the second stage: classes and boxes of every region."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from deta.models.roi.base import BaseRegionHead
from deta.models.roi.proposals import Regions
from deta.utils.checks import require_bool, require_int


class RegionHead(BaseRegionHead):
    """Convolutions, linear layers, and one layer each for classes and for the boxes of every class.

    Source: arXiv:1612.03144 (FPN), sec. 4.2: two linear layers; arXiv:2111.11429: four convolutions with norms and one
    linear layer.

    Args:
        num_classes: Categories.
        channels: Of the pooled features.
        resolution: Their height and width.
        num_convs: Convolutions with batch norms, of as many channels.
        num_linear: Linear layers.
        width: Of these; None is four times ``channels``, 1024 with those of the publications.
        class_boxes: Whether a region has a box for every class, that of "no object" last, or one for all.
        scores: ``softmax`` with "no object", or ``sigmoid`` without it.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int,
        resolution: int,
        num_convs: int = 0,
        num_linear: int = 2,
        width: int | None = None,
        class_boxes: bool = True,
        scores: str = "softmax",
    ) -> None:
        super().__init__(num_classes=num_classes, scores=scores)
        require_int("model.body.head.num_convs", num_convs, low=0)
        require_int("model.body.head.num_linear", num_linear, low=1)
        width = 4 * channels if width is None else require_int("model.body.head.width", width, low=1)
        num_boxes = self.num_outputs if require_bool("model.body.head.class_boxes", class_boxes) else 1
        self.convs = nn.ModuleList(_ConvNorm(channels) for _ in range(num_convs))
        sizes = [channels * resolution**2, *[width] * num_linear]
        self.linears = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.class_logits = nn.Linear(width, self.num_outputs)
        self.box_code = nn.Linear(width, 4 * num_boxes)

    def forward(self, pooled: Tensor, regions: Regions, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and codes."""
        del frame
        hidden = pooled.flatten(0, 1)  # [B * R, D, h, w]
        for conv in self.convs:
            hidden = conv(hidden, regions.exists.flatten())
        hidden = hidden.flatten(1)  # [B * R, D * h * w]
        for linear in self.linears:
            hidden = linear(hidden).relu()
        hidden = hidden.unflatten(0, pooled.shape[:2])  # [B, R, width]
        with torch.autocast(pooled.device.type, enabled=False):
            hidden = hidden.float()
            return self.class_logits(hidden), self.box_code(hidden).unflatten(2, (-1, 4))  # [B, R, K, 4]


class _ConvNorm(nn.Module):
    """A convolution, a batch norm over what exists, and a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm: nn.Module = MaskedBatchNorm(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor, exists: Tensor) -> Tensor:
        """``[N, D, h, w]``."""
        features = self.conv(features)
        if isinstance(self.norm, MaskedBatchNorm):
            normed: Tensor = self.norm(features, exists)
            return normed.relu()
        # A norm of all ranks (trainer.sync_batchnorm) takes any number of rows.
        return torch.zeros_like(features).index_put((exists,), self.norm(features[exists]).relu())


class MaskedBatchNorm(nn.BatchNorm2d):
    """A batch norm whose statistics are those of some rows of the batch; in evaluation it is any batch norm."""

    def forward(self, features: Tensor, exists: Tensor) -> Tensor:  # type: ignore[override]  # one more than any norm
        """``[N, D, h, w]``.

        Args:
            features: ``[N, D, h, w]``.
            exists: ``[N]`` bool, False for rows that are normed with the others but do not count; without any row that
                counts the running statistics stay, and the output is the bias.
        """
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        weights = exists.to(torch.float32)[:, None, None, None].expand(-1, 1, *features.shape[2:])  # [N, 1, h, w]
        count = weights.sum()
        values = features.float()
        mean = (values * weights).sum((0, 2, 3)) / count.clamp(min=1)  # [D]
        centred = values - mean[:, None, None]
        variance = (centred.square() * weights).sum((0, 2, 3)) / count.clamp(min=1)  # [D]
        momentum = torch.where(count > 0, 0.0 if self.momentum is None else self.momentum, 0.0)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)  # unbiased, as PyTorch's
        scale = self.weight * (variance + self.eps).rsqrt()  # [D]
        return centred * scale[:, None, None] + self.bias[:, None, None]
