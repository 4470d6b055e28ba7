"""Rules of the published systems, as a case gives their numbers."""

from collections.abc import Mapping
from typing import Any

from deta.assign import HungarianAssigner

FAMILY = (
    "detr",
    "dab_detr",
    "dab_deformable_detr",
    "dn_detr",
    "dn_deformable_detr",
    "dino",
    "hdetr",
    "deformable",
    "group_detr",
    "efficient_detr",
)
"""Systems whose queries are assigned one to one."""


def box_eps(config: Mapping[str, Any]) -> float:
    """What the system adds to areas by which it divides."""
    return float(config.get("giou_eps", config.get("box_eps", 0.0)))


def hungarian(config: Mapping[str, Any]) -> HungarianAssigner:
    """The rule of a case."""
    return HungarianAssigner(
        class_weight=config["set_cost_class"],
        l1_weight=config["set_cost_bbox"],
        giou_weight=config["set_cost_giou"],
        alpha=config.get("focal_alpha", 0.25),
        scores="softmax" if config["system"] == "detr" else "sigmoid",
        eps=box_eps(config),
    )
