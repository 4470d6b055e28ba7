"""A new rule, term, selection, score or group of queries is files of its own, and no edit elsewhere."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from deta.assign import Draw
from deta.building.build import make, make_detector, plain
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.testing.systems import task
from deta.training.stage_names import term_name
from deta.training.step import step
from tests.commands.running import TINY_TRAINING, fail, succeed
from tests.training.tiny import logged

MODULE = '''
import torch
from torch import nn
from deta.assign import IoUAssigner, Matches
from deta.losses import Sum
from deta.models import Queries, QueryGroup
from deta.ops.rows import take_rows


class EverySecond:
    """A rule that wraps another one."""

    def __init__(self, *, tau):
        self.inner = IoUAssigner(tau=tau)

    def __call__(self, prediction, targets, draw):
        return self.inner(prediction, targets, draw.within("inner")).then(self.halved)

    def halved(self, matches):
        is_even = torch.arange(matches.target.shape[1], device=matches.target.device) % 2 == 0
        return Matches(torch.where(is_even, matches.target, -1), notes={"odd": (matches.target >= 0) & ~is_even})


class CentreLoss:
    """A term: the distance of centres."""

    def __init__(self, *, weight=1.0):
        self.weight = weight

    def __call__(self, prediction, matches, targets):
        distance = (prediction.boxes.float() - take_rows(targets.boxes, matches.target))[..., :2].abs().sum(-1)
        return Sum(torch.where(matches.is_positive(), distance, 0.0).sum(1))


def middle(scores, boxes, is_valid, level_sizes, num_queries):
    """A selection: the positions around the middle of the order of scores."""
    order = scores.masked_fill(~is_valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    start = (order.shape[1] - num_queries) // 2
    return order[:, start : start + num_queries]


class Middle:
    def __call__(self, *arguments):
        return middle(*arguments)


class Sharper:
    """A score: the sigmoid of twice every output."""

    def __call__(self, prediction):
        return 2 * prediction.logits.float()


class Copies(QueryGroup):
    """A group: the main queries once more, with another content."""

    def __init__(self, *, hidden_dim):
        super().__init__()
        self.content = nn.Embedding(1, hidden_dim)

    def forward(self, source, memory, main, first, targets, draw):
        return Queries(main.content + self.content.weight, main.position, main.references)
'''
CRITERION = """
_target_: deta.losses.Criterion
rules:
  first:
    _target_: deta.losses.Rule
    sees: objects
    class_terms: {class: {_target_: deta.losses.FocalLoss}}
    box_terms: {l1: {_target_: deta.losses.L1Loss}, giou: {_target_: deta.losses.GIoULoss}}
  layers:
    _target_: deta.losses.Rule
    class_terms: {class: {_target_: deta.losses.FocalLoss}}
    box_terms: {giou: {_target_: deta.losses.GIoULoss}, centre: {_target_: own_parts.CentreLoss, weight: 5.0}}
  copies: ${criterion.rules.layers}
"""
RULE = """
# @package _global_
defaults:
  - /assigner@criterion.rules.first.assigner: own
  - /assigner@criterion.rules.layers.assigner: own
  - /selection: own
  - /postprocess: nms
"""
FILES = {
    "criterion/own.yaml": CRITERION,
    "rule/own.yaml": RULE,
    "assigner/own.yaml": "_target_: own_parts.EverySecond\ntau: 0.5\n",
    "selection/own.yaml": "_target_: own_parts.Middle\n",
    "score/own.yaml": "_target_: own_parts.Sharper\n",
    "group/own.yaml": "_target_: own_parts.Copies\nhidden_dim: ${model.body.hidden_dim}\n",
}
WORDS = (
    *TINY_TRAINING,
    "criterion=own",
    "rule=own",
    "+group@model.body.groups.copies=own",
    "+score@postprocess.score=own",
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module and configurations; the repository is not touched."""
    folder = tmp_path / "own"
    for name, text in FILES.items():
        (folder / "conf" / name).parent.mkdir(parents=True)
        (folder / "conf" / name).write_text(text.lstrip())
    (folder / "own_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    yield folder / "conf"
    sys.modules.pop("own_parts", None)


def test_parts_from_a_folder_make_a_whole_step(own: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [f"hydra.searchpath=[file://{own}]", *WORDS])
        torch.manual_seed(0)
        detector, criterion = make_detector(plain(cfg.model), 6), make(cfg.criterion)
        postprocess = make(cfg.postprocess)
    batch = task("a batch").batch
    result = step(detector, criterion, batch, Draw.of(0))
    losses, best = result.losses, result.output.final.logits.flatten(1).max(1).values
    torch.testing.assert_close(
        postprocess(result.output.final, batch.original_sizes).scores[:, 0], (2 * best).sigmoid()
    )
    assert losses is not None
    names = {term_name(*name) for name in losses.names}
    assert {"proposals/l1", "layer1/centre", "copies/layer1/centre"} <= names
    assert all("odd" in made.classes.notes for made in losses.matches.values())
    assert losses.total().isfinite()


def test_a_rule_is_one_more_choice_of_every_place_for_rules(own: Path) -> None:
    words = ("--config-dir", str(own), *TINY_TRAINING)
    place = "assigner@criterion.rules.layers.assigner"
    shown = succeed("train", *words, f"{place}=own", "--cfg", "job", "--package", "criterion")
    assert "_target_: own_parts.EverySecond" in shown.out
    assert f"{place}=unknown" in fail("train", *words, f"{place}=unknown")
    choices = succeed("train", *words, "--help", "assigner").out
    assert {"own", "iou", "hungarian"} <= set(re.findall(r"\w+", choices))


def test_a_rule_stands_beside_others_by_its_search_path_too(own: Path) -> None:
    words = ("data=shapes", "assigner=[own,iou]", f"hydra.searchpath=[file://{own}]")
    shown = succeed("data", "assign", *words, "--cfg", "job", "--package", "compare").out
    assert "_target_: own_parts.EverySecond" in shown
    assert "_target_: deta.assign.IoUAssigner" in shown
    assert "no rule own; rules: " in fail("data", "assign", *words[:2])


@pytest.mark.slow
def test_parts_from_a_folder_are_trained_and_logged(own: Path, tmp_path: Path) -> None:
    succeed("train", "--config-dir", str(own), *WORDS, f"hydra.run.dir={tmp_path / 'run'}")
    for name in ("train/copies/layer0/centre", "assign/layers/odd_share", "assign/proposals/odd_share"):
        assert logged(tmp_path / "run", name), name
