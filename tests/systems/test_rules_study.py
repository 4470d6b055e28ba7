"""The study of all rules: one network, one factor, and every cell trains."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from deta.building.build import make_detector
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.testing.systems import task
from tests.commands.running import SMALL_MODEL
from tests.commands.test_study import declared
from tests.systems.test_every_system import trained

RULES = {
    "paper": "IoUAssigner",
    "release": "ReleaseAssigner",
    "hungarian": "HungarianAssigner",
    "topk_iou": "TopKIoUAssigner",
    "max_iou": "MaxIoUAssigner",
    "atss": "ATSSAssigner",
    "fcos": "FCOSAssigner",
    "simota": "SimOTAAssigner",
    "tal": "TaskAlignedAssigner",
    "one_per_object": "OnePerObjectAssigner",
}


@pytest.fixture(autouse=True)
def config_folder() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


@cache
def cell(rule: str) -> dict[str, Any]:
    """The configuration of a cell, so small that a step of it takes moments."""
    cfg = compose("train", [*declared("rules_shapes").words({"rule": rule}, 0, SMALL_MODEL), "run_dir=none"])
    parts = ["model", "criterion", "selection", "postprocess", "evaluations"]
    content = OmegaConf.to_container(OmegaConf.masked_copy(cfg, parts), resolve=True)
    assert isinstance(content, dict)
    return {str(name): part for name, part in content.items()}


def test_the_rule_of_both_stages_is_the_one_factor() -> None:
    assert [factors["rule"] for factors in declared("rules_shapes").cells()] == list(RULES)
    cells = {rule: deepcopy(cell(rule)) for rule in RULES}
    for rule, parts in cells.items():
        assigners = [parts["criterion"]["rules"][role].pop("assigner")["_target_"] for role in ("first", "layers")]
        assert assigners == [f"deta.assign.{RULES[rule]}"] * 2
    assert all(parts == cells["paper"] for parts in cells.values())  # model, losses, selection and post-processing


def test_labels_are_hard_and_every_layer_is_assigned_anew() -> None:
    rules = cell("tal")["criterion"]["rules"]
    assert rules["layers"]["rematch"] == "per_layer"
    for role in ("first", "layers"):
        terms = [*rules[role]["class_terms"].values(), *rules[role]["box_terms"].values()]
        targets = {term["_target_"].rpartition(".")[2] for term in terms}
        assert targets == {"FocalLoss", "L1Loss", "GIoULoss"}  # none of which reads a quality


@pytest.mark.parametrize("rule", RULES)
def test_every_cell_trains_and_detects_with_and_without_nms(rule: str) -> None:
    parts = cell(rule)
    torch.manual_seed(0)
    criterion, postprocess = (instantiate(parts[name], _convert_="all") for name in ("criterion", "postprocess"))
    case = task("objects", counts=(8, 8), size=(128, 192))
    result = trained(case, (make_detector(parts["model"], case.num_classes), criterion, postprocess))
    assert result.losses is not None
    assert any(matches.classes.is_positive().any() for matches in result.losses.matches.values())
    for name in ("nms", "topk"):
        select = instantiate(parts["evaluations"][name], _convert_="all")
        assert select(result.output.final, case.batch.original_sizes).boxes.isfinite().all()
