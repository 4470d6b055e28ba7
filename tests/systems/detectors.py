"""Detectors of the systems as they are composed, in the size of a case and with its weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from deta.building.build import make, plain, with_classes
from deta.cli import config_dir
from deta.models import Detector
from deta.models.releases import from_release, layout_of
from tests.golden.detectors import NoBackbone
from tests.systems.published import EFFICIENT_DETR

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

SYSTEMS = {"hdetr": "h_detr", "deformable": "deformable_detr_two_stage"}
"""Our name of a system where it is another one."""


def reference_detector(case: "ReferenceCase", *words: str) -> Detector:
    """The detector of a case with its weights, in evaluation mode; its backbone only states channels."""
    channels = tuple(case.config["backbone_channels"])
    model = with_classes(plain(composed(case.config, *words)["model"]), case.config["num_classes"])
    detector: Detector = make({**model, "backbone": NoBackbone(channels)})
    state = case.state
    if case.config.get("mixed_selection") is False:
        state = {name: tensor for name, tensor in state.items() if name != "query_embed.weight"}  # it is not used
    if case.config["system"] == "efficient_detr":
        weights = EFFICIENT_DETR.from_release(state, detector.state_dict())
    else:
        weights = from_release(state, detector)
    detector.load_state_dict(weights)
    return detector.eval()


def published_names(detector: Detector, case: "ReferenceCase", values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values of the parameters under the names of the reference, each as often as it is named."""
    state = {name: values.get(name, torch.zeros_like(part)) for name, part in detector.state_dict().items()}
    layout = EFFICIENT_DETR if case.config["system"] == "efficient_detr" else layout_of(state)
    return layout.to_release(state)


def composed(config: dict[str, Any], *words: str) -> DictConfig:
    """The configuration of a system in the size of a case."""
    system = SYSTEMS.get(config["system"], config["system"])
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        sizes = _size(config) if "nheads" in config else []
        cfg = compose("train", [f"system={system}", *sizes, *_options(config), *words])
    cfg = cfg.copy()
    parts = [name for name in ("model", "criterion", "selection", "postprocess", "trainer") if name in cfg]
    cfg = OmegaConf.masked_copy(cfg, parts)
    cfg["trainer"] = {"max_epochs": cfg["trainer"]["max_epochs"]}
    OmegaConf.resolve(cfg)
    return cfg


def _size(config: dict[str, Any]) -> list[str]:
    sizes = {
        "model.num_classes": "num_classes",
        "model.body.hidden_dim": "hidden_dim",
        "model.body.encoder.num_layers": "enc_layers",
        "model.body.decoder.num_layers": "dec_layers",
        "model.neck.num_levels": "num_feature_levels",
        "model.body.encoder.num_points": "enc_n_points",
        "model.body.decoder.num_points": "dec_n_points",
    }
    words = [f"{key}={config[name]}" for key, name in sizes.items() if name in config]
    for part in ("encoder", "decoder"):
        for name, key in (("num_heads", "nheads"), ("ffn_dim", "dim_feedforward"), ("dropout", "dropout")):
            words.append(f"model.body.{part}.{name}={config[key]}")
    if config["system"] in ("hdetr", "deformable"):
        words.append(f"model.body.source.num_classes={config['num_classes']}")
    queries = config.get("num_queries", config.get("num_queries_one2one"))
    return [*words, f"model.body.source.num_queries={queries}"]


def _options(config: dict[str, Any]) -> list[str]:
    words = []
    if config.get("pre_norm"):
        words += [f"model.body.{part}.pre_norm=true" for part in ("encoder", "decoder")]
    if config.get("num_patterns"):
        words.append(f"model.body.source.num_patterns={config['num_patterns']}")
    if "scalar" in config:
        words += [f"model.body.groups.denoise.groups={config['scalar']}", "model.body.groups.denoise.max_slots=null"]
    if "dn_number" in config:
        words += [f"model.body.groups.denoise.number={config['dn_number']}", "model.body.groups.denoise.max_slots=null"]
    if "k_one2many" in config:
        words.append(f"criterion.rules.many.repeat={config['k_one2many']}")
    if config.get("num_queries_one2many"):
        words.append(f"model.body.groups.many.num_queries={config['num_queries_one2many']}")
    if config.get("mixed_selection") is False:
        words.append("model.body.source.content=position")
    if config.get("look_forward_twice") is False:
        words.append("model.body.decoder.refine=iterative")
    if "group_detr" in config:
        words.append(f"model.body.groups.copies.num_copies={config['group_detr'] - 1}")
    return words
