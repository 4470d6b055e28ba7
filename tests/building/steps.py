"""Configurations of trainings, and a step of each."""

from contextlib import nullcontext
from unittest import mock

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from deta.assign import Draw
from deta.building import build
from deta.building.build import make_detector, make_recipe
from deta.console.naming import register_resolvers
from deta.console.told_words import told_present_words
from deta.studies.conf import config_dir
from deta.training.step import step
from tests.training.test_step import NUM_CLASSES, batch

PUBLISHED_RULES = ("topk_iou", "max_iou", "atss", "fcos", "simota", "tal", "one_per_object")
ASSIGNERS = ("iou", "release", "hungarian", *PUBLISHED_RULES)


def often(system: str, other: str, *systems: str) -> object:
    """A case of every run of the tests for some systems, and of those of slow ones for others."""
    return pytest.param(system, other, marks=[] if system in systems else pytest.mark.slow)


def composed(*words: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        given = told_present_words(["size=shapes", "logger=file", *words])
        return compose("train", [*given, "run_dir=none", "name=test"], return_hydra_config=True)


def train_a_step_of(*words: str, is_tried: bool = True) -> None:
    """As a training does: made, checked, one step back through the network, one selection of detections.

    Args:
        words: Overrides.
        is_tried: Whether the step without content is tried before, which takes as long.
    """
    cfg = composed(*words)
    with nullcontext() if is_tried else mock.patch.object(build, "require_step"):
        recipe = make_recipe(cfg)
    detector = make_detector(make_plain(cfg), NUM_CLASSES)
    result = step(detector, recipe.criterion, batch(5, 0), Draw.of(1, 2, 3))
    assert result.losses is not None
    total = result.losses.total()
    total.backward()
    assert total.isfinite()
    without = [name for name, each in detector.named_parameters() if each.requires_grad and each.grad is None]
    assert without == []
    detections = recipe.postprocess(result.output.final, batch(5, 0).targets.sizes)
    assert detections.boxes.shape[0] == detections.scores.shape[0] == 2
    assert detections.boxes.isfinite().all()


def make_plain(cfg: DictConfig) -> DictConfig:
    model = OmegaConf.create({"model": OmegaConf.to_container(cfg.model, resolve=True)})
    chosen: DictConfig = model.model
    return chosen
