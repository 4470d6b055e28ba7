"""The body of detectors in two stages: boxes of a dense first stage, looked at once more."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from deta.models.body import Body
from deta.models.dense.body import DenseBody
from deta.models.dense.codecs import Codec
from deta.models.roi.base import BaseRegionHead
from deta.models.roi.pooling import RegionPooling
from deta.models.roi.proposals import ProposalSelection, Regions
from deta.models.roi.sampler import RegionSampler
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, Prediction, StageKey, Targets
from deta.utils.checks import require_callable, require_int

FIRST, ROI = "first", "roi"
"""The roles of its two stages."""


class RoIBody(Body):
    """A region proposal network, and a head that classifies and refines its proposals: Faster R-CNN and its kin.

    Boxes and priors are in pixels of the padded image. Where it is trained, the second stage sees a sample of proposals
    and objects; else all proposals, so that a validation measures what detects.

    Source: arXiv:1506.01497 (Faster R-CNN), sec. 3.

    Args:
        num_classes: Categories.
        channels: Of every level of the neck, all equal.
        first: Makes the first stage when called with ``num_classes``, 1, and ``channels``.
        selection: Which of its boxes become regions.
        sampler: Which regions are trained.
        pooling: Features of regions.
        codec: From codes to boxes, around regions.
        head: Makes the head when called with ``num_classes``, ``channels`` and ``resolution``.
        first_level: Finest level of the neck that the first stage sees, from 0.
        hidden_dim: Channels of every level.

    Raises:
        ValueError: The neck makes other channels, or too few levels.
    """

    roles = (FIRST, ROI)
    placed = roles
    detects_on_grid = False

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        first: Callable[..., DenseBody],
        selection: ProposalSelection,
        sampler: RegionSampler,
        pooling: RegionPooling,
        codec: Codec,
        head: Callable[..., BaseRegionHead],
        first_level: int = 0,
        hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        if set(channels) != {hidden_dim}:
            raise ValueError(
                f"model.neck must make all levels model.body.hidden_dim {hidden_dim} channels wide, got {channels}"
            )
        require_callable("model.body.codec", codec)
        self.first_level = require_int("model.body.first_level", first_level, low=0, high=len(channels) - 1)
        self.selection, self.sampler, self.pooling, self.codec = selection, sampler, pooling, codec
        self.first = first(num_classes=1, channels=tuple(channels[self.first_level :]))
        self.head = head(num_classes=num_classes, channels=channels[0], resolution=pooling.resolution)

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        """Both stages; objects are among the regions in training alone."""
        seen = replace(
            features,
            maps=features.maps[self.first_level :],
            is_padding=features.is_padding[self.first_level :],
            strides=features.strides[self.first_level :],
            padded_size=features.padded(),
        )
        of_first: DetectionOutput = self.first(seen)
        first = of_first.stages[of_first.last]
        frame = features.frame()
        regions = self.selection(first, frame, training=self.training)
        if self.training and targets is not None and draw is not None:
            regions = self.sampler(regions, targets, draw.within("sampler"))
        stages = {StageKey(FIRST): first, StageKey(ROI): self.regions(features, regions, frame)}
        return DetectionOutput(stages, StageKey(ROI), frame)

    def regions(self, features: Features, regions: Regions, frame: Tensor) -> Prediction:
        """The second stage.

        Args:
            features: Of all levels.
            regions: Of every image.
            frame: ``[B, 4]`` pixels of the unpadded images, ``(width, height, width, height)``.
        """
        pooled, levels = self.pooling(features, regions.boxes)
        strides = torch.stack([torch.full_like(frame[0, 0], stride) for stride in features.strides])  # [L]
        logits, code = self.head(pooled, regions, frame)
        priors = regions.boxes[:, :, None].expand(*code.shape)  # [B, R, K, 4]
        strides = strides[levels]  # [B, R]
        boxes = self.codec(code, priors, strides[..., None])
        return Prediction(
            logits,
            boxes if boxes.shape[2] > 1 else boxes[:, :, 0],
            regions.boxes,
            exists=regions.exists,
            levels=levels,
            strides=strides,
            code=code.flatten(2),  # [B, R, K * 4]
            source=regions.source,
        )
