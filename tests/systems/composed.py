"""Every system as it is composed, so small that a step of it takes moments."""

from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from deta.building.build import make_detector
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.losses import Criterion
from deta.models.postprocess import Postprocess
from tests.commands.running import SMALL_MODEL

Built = tuple[nn.Module, Criterion, Postprocess]

SYSTEMS = (
    "deta",
    "deformable_detr_two_stage",
    "dino",
    "h_detr",
    "efficient_detr",
    "deformable_detr",
    "deformable_detr_refine",
    "dab_detr",
    "dab_deformable_detr",
    "dn_detr",
    "dn_deformable_detr",
    "dn_deformable_detr_encoder_only",
    "detr",
    "group_detr",
    "fqdet",
)
DENSE = ("retinanet", "retinanet_v2", "fcos", "atss", "gfl", "tood", "yolox", "centernet")
"""Systems whose every cell predicts."""
REGIONS = ("faster_rcnn", "faster_rcnn_v2", "tsp_rcnn")
"""Systems whose second stage looks at regions."""
NO_DROPOUT = {
    system: () if system == "fqdet" else ("model.body.encoder.dropout=0", "model.body.decoder.dropout=0")
    for system in SYSTEMS
}
"""Words after which two steps can be compared."""


def words_of(system: str) -> tuple[str, ...]:
    """The words that compose it tiny."""
    words = [f"system={system}", "size=shapes", "logger=file"]
    if system not in DENSE + REGIONS:
        return (*words, *SMALL_MODEL)
    small = [word for word in SMALL_MODEL if word.startswith(("model.backbone", "model.neck"))]
    if system in REGIONS:
        small += ["model.body.sampler.num_regions=100", "model.body.selection.num_proposals=50"]
        small += ["model.body.selection.training_num_proposals=80"]
        if system == "tsp_rcnn":
            small += [f"model.body.head.{word}" for word in ("num_layers=1", "num_heads=4", "ffn_dim=32", "dropout=0")]
    elif system != "centernet":
        small.append("model.body.head.num_convs=1")
    return (*words, *small, "model.body.hidden_dim=32")


@cache
def composed(*words: str) -> dict[str, Any]:
    """Model, criterion and post-processing of a command line, resolved."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*words, "run_dir=none", "name=test"])
    parts = ["model", "criterion", "selection", "postprocess", "trainer"]
    cfg = OmegaConf.masked_copy(cfg, [name for name in parts if name in cfg])
    cfg.trainer = {"max_epochs": cfg.trainer.max_epochs}
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    return {str(name): part for name, part in found.items()}


def build(num_classes: int, *words: str) -> Built:
    """What these words compose, for so many classes."""
    parts = composed(*words)
    criterion: Criterion = instantiate(parts["criterion"], _convert_="all")
    postprocess: Postprocess = instantiate(parts["postprocess"], _convert_="all")
    return make_detector(parts["model"], num_classes), criterion, postprocess
