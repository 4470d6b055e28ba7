"""Further queries of a training join a system by one word, under any rule."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from deta.assign import GivenAssigner, HungarianAssigner, IoUAssigner, ReleaseAssigner
from deta.building.build import make_detector
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.losses import Criterion
from deta.models.postprocess import NMS, TopK
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Losses
from deta.tracking.metrics import read_metrics
from tests.assign.scenes import objects
from tests.commands.running import TINY_TRAINING, succeed
from tests.models.tiny import images
from tests.systems.composed import SYSTEMS, words_of
from tests.systems.composed import composed as parts_of

RULES = {"hungarian": HungarianAssigner, "iou": IoUAssigner, "release": ReleaseAssigner}
ROLES = {"copies": "copies", "many": "many", "denoise": "denoise", "contrastive": "denoise"}


def composed(*words: str) -> dict[str, Any]:
    """What a training of a small two-stage system is made of."""
    system = ("size=shapes", "system=deformable_detr_two_stage", "model.num_classes=3")
    size = (*system, "model.body.source.num_queries=20")
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*size, "run_dir=none", "name=test", *words])
    cfg = OmegaConf.masked_copy(cfg, ["model", "criterion", "selection", "postprocess"])
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    return {str(name): part for name, part in found.items()}


def criterion_of(*words: str) -> Criterion:
    criterion = instantiate(composed(*words)["criterion"], _convert_="all")
    assert isinstance(criterion, Criterion)
    return criterion


@pytest.mark.parametrize("name", RULES)
def test_a_rule_takes_hold_of_copies_and_of_a_branch_and_leaves_noised_objects_theirs(name: str) -> None:
    rules = criterion_of("further=[copies,many,denoise]", f"rule={name}").rules
    for role in ("first", "layers", "copies", "many"):
        assert isinstance(rules[role].assigner, RULES[name])
    assert isinstance(rules["denoise"].assigner, GivenAssigner)
    assert rules["many"].rematch == rules["copies"].rematch == rules["layers"].rematch
    assert rules["many"].times == (6 if name == "hungarian" else 1)


@pytest.mark.parametrize(
    ("system", "name"),
    [
        pytest.param(system, name, marks=[] if name == "iou" or system in ("deta", "dino") else pytest.mark.slow)
        for system, name in product(SYSTEMS, RULES)
        if system != "fqdet"
    ],
)
def test_a_rule_is_one_word_in_every_system(system: str, name: str) -> None:
    further = () if system.startswith("dn") or system == "dino" else ("further=[copies,many]",)
    parts = parts_of(*words_of(system), f"rule={name}", *further)
    criterion, postprocess = (instantiate(parts[part], _convert_="all") for part in ("criterion", "postprocess"))
    for role, rule in criterion.rules.items():
        assert isinstance(rule.assigner, GivenAssigner if role == "denoise" else RULES[name])
        assert rule.times == (6 if (role, name) == ("many", "hungarian") else 1)
    assert isinstance(postprocess, TopK if name == "hungarian" else NMS)


def test_the_epsilon_of_the_loss_is_that_of_the_cost_and_of_every_branch() -> None:
    word = "criterion.rules.layers.box_terms.giou.eps=1e-6"
    rules = criterion_of("further=[copies,many,denoise]", "rule=hungarian", word).rules
    for rule in rules.values():
        assert rule.box_terms["giou"].eps == 1e-6  # type: ignore[attr-defined]  # a term of ours
        if isinstance(rule.assigner, HungarianAssigner):
            assert rule.assigner.eps == 1e-6
    assert criterion_of("rule=iou", word).rules["layers"].box_terms["giou"].eps == 1e-6  # type: ignore[attr-defined]


@pytest.mark.parametrize("branch", ROLES)
def test_a_branch_trains_beside_the_queries_that_detect(branch: str) -> None:
    found = composed(f"further=[{branch}]", "rule=hungarian")
    detector = make_detector(found["model"], 3)
    criterion: Criterion = instantiate(found["criterion"], _convert_="all")
    targets = objects([(0.4, 0.4, 0.2, 0.3), (0.6, 0.5, 0.3, 0.2)], [])
    output: DetectionOutput = detector(*images(), targets, Draw.of(0))
    losses: Losses = criterion(output, targets, Draw.of(1))
    assert ROLES[branch] in {key.role for key in output.stages}
    losses.total().backward()
    gradients = {name: part.grad for name, part in detector.named_parameters() if part.requires_grad}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert torch.isfinite(losses.terms()).all()


@pytest.mark.gate
def test_what_is_for_training_alone_changes_the_loss_of_validation_and_nothing_else(tmp_path: Path) -> None:
    words = [*TINY_TRAINING, "further=[copies,many]", "model.body.groups.copies.num_copies=2"]
    groups = [f"+model.body.groups.{role}.only_in_training=true" for role in ("copies", "many")]
    runs = {tmp_path / "everywhere": [], tmp_path / "in_training": groups}
    for folder, chosen in runs.items():
        succeed("train", *words, *chosen, f"hydra.run.dir={folder}")
    first, second = ([row for row in read_metrics(folder / "metrics.jsonl") if "val/loss" in row] for folder in runs)
    assert first[-1]["val/loss"] > second[-1]["val/loss"] > 0
    assert first[-1]["val/AP"] == second[-1]["val/AP"]
    weights = [torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for folder in runs]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
