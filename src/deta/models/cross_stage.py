"""Cross-stage partial blocks: what YOLOX's backbone, neck and head are made of."""

import torch
from torch import Tensor, nn

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.03
"""Of every batch norm (arXiv:2107.08430, release); PyTorch's own are 1e-5 and 0.1."""


class PartialBlock(nn.Module):
    """Half of the channels through bottlenecks, half past them. Source: arXiv:1911.11929 (CSPNet).

    Args:
        inputs: Channels of the map.
        outputs: Channels of the result.
        num_blocks: Bottlenecks.
        residual: Whether the map is added to what a bottleneck makes of it.
    """

    def __init__(self, inputs: int, outputs: int, num_blocks: int, *, residual: bool = False) -> None:
        super().__init__()
        hidden = outputs // 2
        self.through, self.past = conv_norm(inputs, hidden, 1), conv_norm(inputs, hidden, 1)
        kind = Residual if residual else nn.Sequential
        self.blocks = nn.Sequential(
            *(kind(conv_norm(hidden, hidden, 1), conv_norm(hidden, hidden, 3)) for _ in range(num_blocks))
        )
        self.output = conv_norm(2 * hidden, outputs, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, outputs, h, w]`` of ``[B, inputs, h, w]``."""
        both = torch.cat((self.blocks(self.through(feature)), self.past(feature)), dim=1)
        output: Tensor = self.output(both)
        return output


class Residual(nn.Sequential):
    """Modules in a row whose change is added to the map."""

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same shape."""
        change = feature
        for layer in self:
            change = layer(change)
        return feature + change


def conv_norm(inputs: int, outputs: int, size: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        nn.SiLU(),
    )
