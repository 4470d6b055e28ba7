"""Checkpoints of systems that are made in a moment and detect with clear scores."""

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from deta.building.build import make_detector
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.training.checkpoint import DETECTOR_PREFIX, make_metadata
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from tests.systems.composed import words_of

NAMES = ("circle", "square", "triangle", "star", "ring", "cross")


def write_checkpoint(system: str, path: Path, *words: str) -> Path:
    """A checkpoint of ``words_of(system)`` without training, whose class scores lie far apart."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*words_of(system), *words, "run_dir=none", "name=test"])
    config: dict[str, Any] = {
        name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("model", "postprocess")
    }
    config["data"] = {"val_transform": OmegaConf.to_container(cfg.data.val_transform, resolve=True)}
    torch.manual_seed(0)
    detector = make_detector(config["model"], len(NAMES))
    spread_scores(detector)
    state = {f"{DETECTOR_PREFIX}{name}": value for name, value in detector.state_dict().items()}
    metadata = make_metadata(config, list(range(len(NAMES))), list(NAMES))
    save_tensors({"state_dict": state, CHECKPOINT_KEY: metadata}, path)
    return path


def spread_scores(detector: nn.Module) -> None:
    """Let every layer that gives a number for each class speak up, and some classes louder than others."""
    for part in detector.modules():
        outputs = getattr(part, "out_channels", getattr(part, "out_features", 0))
        if isinstance(part, nn.Conv2d | nn.Linear) and outputs in (len(NAMES), len(NAMES) + 1, 9 * len(NAMES)):
            with torch.no_grad():
                part.weight.normal_(std=0.3)
                if part.bias is not None:
                    part.bias.copy_(torch.linspace(-1.0, 1.0, outputs))
