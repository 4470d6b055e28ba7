"""The detector: images in, predictions of every stage out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deta.models.backbones.backbone import Backbone
from deta.models.body import Body
from deta.models.input import InputConvention
from deta.models.necks.base import Pyramid
from deta.models.position import valid_size
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, Targets
from deta.utils.checks import require_int


class Detector(nn.Module):
    """Input convention, backbone, neck and body; which detector it is, the body says.

    Args:
        num_classes: Categories.
        backbone: Image to feature maps.
        neck: Makes the neck when called with ``in_channels``, the channels of the backbone's maps; such as
            ``functools.partial(Neck, hidden_dim=256, num_levels=5)``.
        body: Makes the body when called with ``num_classes`` and ``channels``, those of every level of the neck.
        input: How pixels enter; None is the convention of torchvision's networks.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: Backbone,
        neck: Callable[..., Pyramid],
        body: Callable[..., Body],
        input: InputConvention | None = None,  # noqa: A002 - the name of the part
    ) -> None:
        super().__init__()
        self.num_classes = require_int("num_classes", num_classes, low=1)
        self.input = InputConvention() if input is None else input
        self.backbone = backbone
        self.neck = neck(in_channels=backbone.channels)
        self.body = body(num_classes=self.num_classes, channels=self.neck.channels)

    def forward(
        self, images: Tensor, is_padding: Tensor, targets: Targets | None = None, draw: Draw | None = None
    ) -> DetectionOutput:
        """Detect objects.

        Args:
            images: ``[B, 3, H, W]`` RGB, uint8 in 0..255 or floating point in 0..1; of any size: what the
                backbone does not take as it is is padded.
            is_padding: ``[B, H, W]`` bool, True on padding, which lies at the bottom and right.
            targets: See ``Body``.
            draw: See ``Body``.

        Returns:
            Predictions of every stage, float32.
        """
        height, width = (self.backbone.padded_side(self.input.padded_side(side)) for side in images.shape[-2:])
        pixels, is_padding = self.input(images, is_padding, (height, width))
        return self.forward_maps(self.backbone(pixels), is_padding, targets, draw)

    def forward_maps(
        self,
        maps: Sequence[Tensor],
        is_padding: Tensor,
        targets: Targets | None = None,
        draw: Draw | None = None,
    ) -> DetectionOutput:
        """The part behind the backbone; ``maps`` are ``[B, C, h, w]``, finest first."""
        output: DetectionOutput = self.body(self.features(maps, is_padding), targets, draw)
        return output

    def features(self, maps: Sequence[Tensor], is_padding: Tensor) -> Features:
        """What the neck makes of the backbone's maps; padding is resized to the real sizes of its levels."""
        levels = self.neck(maps)
        # Interpolation takes no flags, but their bytes, of which nearest neighbours make no others.
        full = is_padding[:, None].view(torch.uint8)  # [B, 1, H, W]
        masks = [functional.interpolate(full, size=tuple(level.shape[-2:]))[:, 0].view(torch.bool) for level in levels]
        strides = self.neck.strides(self.backbone.strides)
        padded_size = (is_padding.shape[1], is_padding.shape[2])
        return Features(tuple(levels), tuple(masks), strides, valid_size(is_padding).flip(1), padded_size)
