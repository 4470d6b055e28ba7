"""FQDet as a reference case describes it."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from deta.assign import TopKIoUAssigner
from deta.losses import Criterion, DeltaL1Loss, FocalLoss, Rule
from deta.models import FPN, Backbone, Detector
from deta.models.postprocess import NMS
from deta.models.query.fqdet import AnchorDecoder, FQDetBody
from deta.models.query.fqdet_source import AnchorQueries
from deta.models.query.selection import TopKPositions
from deta.models.releases.fqdet import FQDET
from deta.structures import Features, SigmoidScore, Targets

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


class NoBackbone(Backbone):
    """Stands for the backbone whose maps are given."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.channels = tuple(channels)
        self.strides = tuple(8 * 2**level for level in range(len(channels)))


def source(config: dict[str, Any]) -> AnchorQueries:
    """The first stage of a case."""
    return AnchorQueries(
        hidden_dim=config["feat_size"],
        selection=TopKPositions(),
        num_queries=config["num_queries"],
        bottleneck_dim=config["bottle_channels"],
        scale=config["scale_factor"],
        num_sizes=config["num_sizes"],
        ratios=config["aspect_ratios"],
    )


def detector(case: "ReferenceCase") -> Detector:
    """The detector of a case with its weights, in evaluation mode."""
    config = case.config
    hidden_dim, num_levels = config["feat_size"], len(config["map_ids"])
    built = Detector(
        num_classes=config["num_classes"],
        backbone=NoBackbone(config["backbone_channels"]),
        neck=partial(FPN, hidden_dim=hidden_dim, num_levels=num_levels, extra="lateral"),
        body=partial(
            FQDetBody,
            hidden_dim=hidden_dim,
            encoder=nn.Identity(),
            source=source(config),
            decoder=AnchorDecoder(
                hidden_dim=hidden_dim,
                num_levels=num_levels,
                num_layers=config["dec_layers"],
                num_heads=config["nheads"],
                num_points=config["num_points"],
                ffn_dim=config["ffn"],
            ),
        ),
    )
    built.load_state_dict(FQDET.from_release(case.state, {}))
    return built.eval()


def criterion(config: dict[str, Any]) -> Criterion:
    """The losses of a case."""
    focal = {"alpha": config["focal_alpha"], "focusing": config["focal_gamma"]}
    shared: dict[str, Any] = {"normalizer": "none", "ignore_coverage": None}
    first = Rule(TopKIoUAssigner(k=config["rel_pos"]), {"class": FocalLoss(**focal)}, sees="objects", **shared)
    layers = Rule(
        TopKIoUAssigner(k=config["top_pos"]),
        {"class": FocalLoss(background=True, **focal)},
        {"deltas": DeltaL1Loss()},
        on="first",
        **shared,
    )
    return Criterion({"first": first, "layers": layers})


def selection(config: dict[str, Any]) -> NMS:
    """The post-processing of a case."""
    return NMS(
        iou_threshold=config["nms_thr"],
        pre_topk=config["nms_candidates"],
        max_detections=config["max_dets"],
        score=SigmoidScore(has_background=True),
    )


def padding(image_sizes: Tensor, padded: Tensor) -> Tensor:
    """``[B, H, W]`` bool, True beyond the ``[B, 2]`` sizes of images in a frame of ``(H, W)``."""
    height, width = padded.tolist()
    below = torch.arange(height)[:, None] >= image_sizes[:, :1, None]  # [B, H, 1]
    return below | (torch.arange(width) >= image_sizes[:, 1:, None])  # [B, H, W]


def features(config: dict[str, Any], num_images: int) -> Features:
    """Maps without content, all of the images without padding."""
    shapes = [tuple(shape) for shape in config["map_shapes"]]
    strides = tuple(2**level for level in config["map_ids"])
    maps = tuple(torch.zeros(num_images, config["feat_size"], *shape) for shape in shapes)
    masks = tuple(torch.zeros(num_images, *shape, dtype=torch.bool) for shape in shapes)
    size = torch.tensor([[float(side * strides[0]) for side in shapes[0]]])
    return Features(maps, masks, strides, size.repeat(num_images, 1))


def targets(case: "ReferenceCase", image_sizes: Tensor) -> Targets:
    """The objects of a case, in images of ``[B, 2]`` pixels."""
    counts = case.inputs["sizes"].tolist()
    most = max(counts, default=0)
    boxes, labels = torch.zeros(len(counts), most, 4), torch.zeros(len(counts), most, dtype=torch.int64)
    frame = image_sizes.float().flip(1).repeat(1, 2)  # [B, 4]
    parts = zip(case.inputs["boxes_xyxy"].split(counts), case.inputs["labels"].split(counts), frame, strict=True)
    for image, (corners, classes, unit) in enumerate(parts):
        boxes[image, : len(corners)] = box_convert(corners, "xyxy", "cxcywh") / unit
        labels[image, : len(classes)] = classes
    is_object = torch.arange(most) < torch.tensor(counts)[:, None]  # [B, T]
    return Targets(
        boxes=boxes,
        labels=labels,
        is_object=is_object,
        areas=is_object * 1000.0,
        ignore_boxes=torch.zeros(len(counts), 0, 4),
        is_ignore=torch.zeros(len(counts), 0, dtype=torch.bool),
        sizes=image_sizes.float(),
        most_objects=most,
    )


def pairs(target: Tensor, counts: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of a ``[B, N]`` assignment as the reference counts them: candidates and objects of the batch."""
    starts = [sum(counts[:image]) for image in range(len(counts))]
    width = target.shape[1]
    return [
        (image * width + candidate, starts[image] + int(target[image, candidate]))
        for image, candidate in (target >= 0).nonzero().tolist()
    ]
