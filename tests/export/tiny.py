"""Checkpoints of systems that are made in a moment and detect with clear scores."""

from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import nn

from deta.cli import config_dir
from deta.commands.build import make_detector, plain
from deta.commands.naming import register_resolvers
from deta.training.checkpoint import DETECTOR_PREFIX, make_metadata
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from tests.systems.composed import words_of

NAMES = ("circle", "square", "triangle", "star", "ring", "cross")


def write_checkpoint(system: str, path: Path, *words: str) -> Path:
    """A checkpoint of ``words_of(system)`` without training, whose classes differ by their biases."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*words_of(system), *words, "run_dir=none", "name=test"])
        cfg.hydra = None
        config = {name: part for name, part in plain(_stored(cfg)).items() if name != "hydra"}
    torch.manual_seed(0)
    detector = make_detector(config["model"], len(NAMES))
    _tell_classes_apart(detector)
    state = {f"{DETECTOR_PREFIX}{name}": value for name, value in detector.state_dict().items()}
    metadata = make_metadata(config, list(range(len(NAMES))), list(NAMES))
    save_tensors({"state_dict": state, CHECKPOINT_KEY: metadata}, path)
    return path
