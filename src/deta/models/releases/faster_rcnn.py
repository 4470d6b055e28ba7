"""Faster R-CNN of torchvision: arXiv:1506.01497; the second version: arXiv:2111.11429."""

from deta.models.releases.dense import OLDER_PYRAMID, PYRAMID
from deta.models.releases.layout import Pair, Release

_TOWER: tuple[Pair, ...] = (("rpn.head.conv.#.0.", "body.first.head.tower.#.0."),)
_PARTS: tuple[Pair, ...] = (
    ("rpn.head.cls_logits.", "body.first.head.class_logits."),
    ("rpn.head.bbox_pred.", "body.first.head.box_code."),
    ("roi_heads.box_predictor.cls_score.", "body.head.class_logits."),
    ("roi_heads.box_predictor.bbox_pred.", "body.head.box_code."),
)
_BACKBONE: tuple[Pair, ...] = (("backbone.body.", "backbone.body."),)
_BACKGROUND = {"body.head.class_logits.": 1, "body.head.box_code.": 4}
"""Its class is the first one there and the last one here."""
_LINEAR: tuple[Pair, ...] = (
    ("roi_heads.box_head.fc6.", "body.head.linears.0."),
    ("roi_heads.box_head.fc7.", "body.head.linears.1."),
)
FASTER_RCNN = Release(
    "Faster R-CNN of torchvision",
    (
        *PYRAMID,
        *_TOWER,
        *_LINEAR,
        *_PARTS,
    ),
    optional=_BACKBONE,
    first_rows_last=_BACKGROUND,
)
_OLDER_TOWER: tuple[Pair, ...] = tuple(
    (f"rpn.head.conv.{name}", f"body.first.head.tower.0.0.{name}") for name in ("weight", "bias")
)
OLDER_FASTER_RCNN = Release(
    "Faster R-CNN of an older torchvision",
    (
        *OLDER_PYRAMID,
        *_OLDER_TOWER,
        *_LINEAR,
        *_PARTS,
    ),
    optional=_BACKBONE,
    first_rows_last=_BACKGROUND,
)
FASTER_RCNN_V2 = Release(
    "the second Faster R-CNN of torchvision",
    (
        ("backbone.fpn.inner_blocks.#.#.", "neck.laterals.#.#."),
        ("backbone.fpn.layer_blocks.#.#.", "neck.outputs.#.#."),
        ("roi_heads.box_head.#.0.", "body.head.convs.#.conv."),
        ("roi_heads.box_head.#.1.", "body.head.convs.#.norm."),
        ("roi_heads.box_head.5.", "body.head.linears.0."),
        *_TOWER,
        *_PARTS,
    ),
    optional=_BACKBONE,
    first_rows_last=_BACKGROUND,
)
