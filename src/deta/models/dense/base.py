"""What heads of dense detectors share: what a body tells them, and levels one after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadShape:
    """What a body tells its head.

    Attributes:
        channels: Of every level.
        num_classes: Categories.
        per_cell: Candidates of a cell.
        code_size: Numbers that a box is coded as.
        hidden_dim: Channels inside the head.
    """

    channels: tuple[int, ...]
    num_classes: int
    per_cell: int
    code_size: int
    hidden_dim: int

    def require_one_width(self) -> int:
        """``hidden_dim``.

        Raises:
            ValueError: A level has other channels, so that no tower serves all.
        """
        if set(self.channels) != {self.hidden_dim}:
            raise ValueError(
                f"model.neck must make all levels {self.hidden_dim} channels wide, as model.body.hidden_dim says, got "
                f"{self.channels}"
            )
        return self.hidden_dim


class LevelHead(nn.Module):
    """Base class of heads that predict level by level.

    Args:
        shape: What the body tells.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape

    def predict(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Maps of one level, float32 also under autocast: in half precision logits tie.

        Args:
            feature: ``[B, D, h, w]``.
            level: Its number, from the finest.

        Returns:
            ``[B, A * C, h, w]`` logits, ``[B, A * code_size, h, w]`` codes, and ``[B, A, h, w]`` logits of quality or
            None, for ``per_cell`` A.
        """
        raise NotImplementedError

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits ``[B, N, C]``, codes ``[B, N, code_size]`` and quality ``[B, N]`` or None, level by level."""
        logits, codes, qualities = zip(
            *(self.predict(feature, level) for level, feature in enumerate(maps)), strict=True
        )
        has_quality = [quality for quality in qualities if quality is not None]
        return (
            torch.cat([rows_of(part, self.shape.num_classes) for part in logits], dim=1),
            torch.cat([rows_of(part, self.shape.code_size) for part in codes], dim=1),
            torch.cat([rows_of(part, 1)[..., 0] for part in has_quality], dim=1) if has_quality else None,
        )


def start_convolutions(module: nn.Module, *, std: float) -> None:
    """Draw the weights of all convolutions of ``module`` from a normal distribution around 0; their biases are 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def start_at_probability(logits: nn.Module, probability: float) -> None:
    """Set the bias of the convolution ``logits`` so that its sigmoids begin near ``probability``, in 0..1."""
    assert isinstance(logits, nn.Conv2d)
    assert logits.bias is not None
    nn.init.constant_(logits.bias, -math.log((1 - probability) / probability))


def rows_of(output: Tensor, size: int) -> Tensor:
    """``[B, h * w * A, size]`` of a map ``[B, A * size, h, w]``: row by row, the A of a cell together."""
    num_images, _, height, width = output.shape
    cells = output.view(num_images, -1, size, height, width).permute(0, 3, 4, 1, 2)  # [B, h, w, A, size]
    return cells.reshape(num_images, -1, size)  # [B, h * w * A, size]
