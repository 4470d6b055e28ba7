"""Parameter groups, schedules, data and post-processing of the dense detectors' recipes, as they were published."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from deta.assign import Draw, GivenAssigner
from deta.cli import config_dir
from deta.commands.build import make, make_detector, plain, without_pretrained
from deta.commands.naming import register_resolvers
from deta.losses import Criterion, Until
from deta.models import Detector
from deta.models.releases import layout_of
from deta.structures import DetectionOutput, StageKey
from deta.training.optim import PARAMETER_NAMES, parameter_groups, parameter_kinds
from tests.systems.conftest import systems_folder
from tests.systems.dense import pixel_targets
from tests.systems.published import read
from tests.systems.test_dense import GivenQuality, given

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

WHOLE = {
    "retinanet_r50_fpn_torchvision": "retinanet_r50_26ep",
    "retinanet_r50_fpn_v2_torchvision": "retinanet_v2_r50_26ep",
    "fcos_r50_fpn_torchvision": "fcos_r50_26ep",
    "centernet_r18_mmdet": "centernet_r18_140ep",
}
"""Published models, and the experiment that trains all their parameters."""
BEHIND_THE_BACKBONE = {
    "atss_r50_fpn_mmdet": "atss_r50_12ep",
    "gfl_r50_fpn_mmdet": "gfl_r50_12ep",
    "tood_r50_fpn_mmdet": "tood_r50_12ep",
    "yolox_s": "yolox_r50_300ep",
    "yolox_l": "yolox_r50_300ep",
}
"""The same, of models whose backbone is another one or has other norms."""
STEMS = {**WHOLE, **BEHIND_THE_BACKBONE}


@cache
def composed(experiment: str) -> DictConfig:
    """The configuration of a training."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", [f"experiment={experiment}", "name=test", "run_dir=none"])


def published_names(detector: Detector, *, is_whole: bool) -> dict[str, str]:
    """The name of every parameter in the list of its publication, by ours; without the backbone where it is another."""
    own = [name for name, _ in detector.named_parameters() if is_whole or not name.startswith("backbone.")]
    layout = layout_of([name for name in detector.state_dict() if is_whole or not name.startswith("backbone.")])
    named = {name: layout.to_release({name: torch.zeros(1)}).keys() - layout.constants.keys() for name in own}
    return {name: published for name, (published,) in named.items()}


@pytest.mark.parametrize("stem", STEMS)
def test_every_parameter_learns_as_it_was_published(stem: str, systems_dir: Path) -> None:
    cfg, is_whole = composed(STEMS[stem]), stem in WHOLE
    with torch.device("meta"):
        detector = make_detector(without_pretrained(cfg.model), 91)
    assert isinstance(detector, Detector)
    names = published_names(detector, is_whole=is_whole)
    groups = parameter_groups(
        detector.named_parameters(),
        lr=cfg.optimizer.lr,
        lr_factors=plain(cfg.optimizer.lr_factors),
        weight_decays=plain(cfg.optimizer.weight_decays),
        kinds=parameter_kinds(detector),
    )
    found = {
        names[own]: (group["lr"], group["weight_decay"])
        for group in make(cfg.optimizer.make)(groups).param_groups
        for own in group[PARAMETER_NAMES]
        if own in names
    }
    expected = read(systems_dir, stem, "param_groups")["param_groups"]
    trained = {name: (entry["lr"], entry["weight_decay"]) for name, entry in expected.items() if entry["requires_grad"]}
    if is_whole:
        assert found == {name: (pytest.approx(lr), decay) for name, (lr, decay) in trained.items()}
        assert set(names.values()) == expected.keys()
        return
    here = found.keys() & trained.keys()
    assert {name: found[name] for name in here} == {name: trained[name] for name in here}
    begins = ("neck.", "bbox_head.", "head.", "backbone.C3_", "backbone.bu_", "backbone.lateral_", "backbone.reduce_")
    assert {name for name in trained if name.startswith(begins)} <= here


def recipe_of(stem: str) -> dict[str, Any]:
    """What the file of a model's groups tells beside them."""
    recipe: dict[str, Any] = read(systems_folder(), stem, "param_groups")["recipe"]
    return recipe


@pytest.mark.parametrize("stem", STEMS)
def test_optimizer_schedule_and_clipping_are_those_of_the_recipe(stem: str, systems_dir: Path) -> None:
    recipe, cfg = recipe_of(stem), composed(STEMS[stem])
    told = {name: recipe[name] for name in ("momentum", "nesterov", "lr", "weight_decay") if name in recipe}
    found = {"lr": cfg.optimizer.lr, **cfg.optimizer.make}
    assert {name: found[name] for name in told} == told
    assert cfg.optimizer.make._target_ == f"torch.optim.{recipe['optimizer']}"
    epochs = recipe["max_epochs" if "max_epochs" in recipe else "epochs"]
    repeats = 5 if stem.startswith("centernet") else 1  # times that an epoch shows every image there
    assert cfg.trainer.max_epochs == epochs * repeats
    assert cfg.trainer.gradient_clip_val == (recipe.get("clip_grad") or {"max_norm": None})["max_norm"]
    if "lr_steps" in recipe:
        assert list(cfg.schedule.make.milestones) == recipe["lr_steps"]
    if recipe.get("frozen_batch_norm") is False:
        assert not cfg.model.backbone.frozen_norm
        assert cfg.trainer.sync_batchnorm == recipe["sync_bn"]
        assert f"ResNet50 {cfg.model.backbone.weights}" == recipe["backbone_weights"]
    if "ema_decay" in recipe:
        assert cfg.callbacks.ema.decay == recipe["ema_decay"]


@dataclass(frozen=True)
class Recipe:
    """What a publication gives.

    Attributes:
        epochs: Of the training.
        milestones: Epochs after which the rate falls, or that end its fall.
        steps: Of the linear warm-up; None has another one.
        batch: On a device.
        short_sides: Of the images, in pixels.
        threshold: Score of a detection, from which on it is one.
        overlap: IoU above which the worse of two detections goes.
        first: Epochs with another rule.
    """

    epochs: int
    milestones: list[int]
    steps: int | None
    batch: int = 2
    short_sides: tuple[int, ...] = (800,)
    threshold: float | None = 0.05
    overlap: float | None = 0.6
    first: int | None = None


MULTI_SCALE = tuple(range(480, 801, 32))
RECIPES = {
    "retinanet_r50_26ep": Recipe(26, [16, 22], 1000, overlap=0.5),
    "retinanet_v2_r50_26ep": Recipe(26, [16, 22], 1000, overlap=0.5, short_sides=MULTI_SCALE),
    "fcos_r50_26ep": Recipe(26, [16, 22], 1000, threshold=0.2),
    "atss_r50_12ep": Recipe(12, [8, 11], 499),
    "gfl_r50_12ep": Recipe(12, [8, 11], 499),
    "tood_r50_12ep": Recipe(12, [8, 11], 499, first=4),
    "yolox_r50_300ep": Recipe(300, [285], None, 8, (), 0.01, 0.65, first=285),
    "centernet_r18_140ep": Recipe(140, [90, 120], 999, 16, (), None, None),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_that_of_its_publication(name: str) -> None:
    cfg = composed(name)
    rule = cfg.criterion.rules.dense
    found = Recipe(
        epochs=cfg.trainer.max_epochs,
        milestones=list(cfg.schedule.make.milestones),
        steps=cfg.schedule.make.get("steps"),
        batch=cfg.data.batch_size,
        short_sides=tuple(cfg.augment.short_sides) if RECIPES[name].short_sides else (),
        threshold=cfg.postprocess.get("threshold"),
        overlap=cfg.postprocess.get("iou_threshold"),
        first=rule.epoch if "first" in rule else None,
    )
    assert found == RECIPES[name]
    assert cfg.schedule.interval == "step"


PHASES: Mapping[str, tuple[dict[str, set[str]], dict[str, set[str]]]] = {
    "tood_r50_12ep": (
        {"ATSSAssigner": {"FocalLoss", "WeightedGIoULoss"}},
        {"TaskAlignedAssigner": {"QualityFocalLoss", "WeightedGIoULoss"}},
    ),
    "yolox_r50_300ep": (
        {"SimOTAAssigner": {"ObjectnessLoss", "MatchedClassLoss", "IoULoss"}},
        {"SimOTAAssigner": {"ObjectnessLoss", "MatchedClassLoss", "IoULoss", "DeltaL1Loss"}},
    ),
}


@pytest.mark.parametrize("name", PHASES)
def test_both_rules_of_a_recipe_are_those_of_its_publication(name: str) -> None:
    criterion: Criterion = make(composed(name).criterion)
    rule = criterion.rules["dense"]
    assert isinstance(rule, Until)
    for each, expected in zip((rule.first, rule.then), PHASES[name], strict=True):
        terms = [*each.class_terms.values(), *each.box_terms.values()]
        assert {type(each.assigner).__name__: {type(term).__name__ for term in terms}} == expected


@pytest.mark.reference("dense_criterion", systems=("tood",))
def test_the_rule_of_tood_in_an_epoch_gives_the_losses_of_the_reference(case: "ReferenceCase") -> None:
    rule = make(composed("tood_r50_12ep").criterion).rules["dense"]
    assert rule.epoch == case.config["initial_epoch"]
    stage, leaves = given(case)
    stage = replace(
        stage,
        logits=(leaves["cls_scores"] ** 2).logit(),  # of which the score is the root, where the other factor is 1
        quality=torch.full(stage.logits.shape[:2], 50.0),
        given=case.outputs["assigned"],
    )
    soft = case.outputs.get("normalized_metrics")
    then = replace(rule.then, assigner=GivenAssigner() if soft is None else GivenQuality(soft), ignore_coverage=None)
    first = replace(rule.first, assigner=GivenAssigner(), ignore_coverage=None)
    criterion = Criterion({"dense": Until(**vars(then), epoch=rule.epoch, first=first)})
    output = DetectionOutput({StageKey("dense"): stage}, StageKey("dense"))
    losses = criterion(output, pixel_targets(case), Draw.of(0, epoch=case.config["epoch"]))
    found = {name: term for (_, name), term in zip(losses.names, losses.terms() * losses.weights, strict=True)}
    for ours, name in (("class", "loss_cls"), ("giou", "loss_bbox")):
        torch.testing.assert_close(found[ours].detach(), case.outputs[f"loss/{name}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)


def test_yolox_ends_mosaic_and_the_fall_of_its_rate_where_its_further_loss_begins() -> None:
    cfg = composed("yolox_r50_300ep")
    change = cfg.criterion.rules.dense.epoch
    assert cfg.augment.train.until == change == cfg.schedule.make.milestones[-1] == cfg.trainer.max_epochs - 15
    assert [cfg.augment.size] * 2 == list(cfg.data.pad_to)
    assert (cfg.schedule.make.epochs, cfg.schedule.make.lowest) == (5, 0.05)
    assert (cfg.callbacks.ema.ramp, cfg.optimizer.make.nesterov) == (2000, True)


def test_every_recipe_of_a_dense_system_is_compared() -> None:
    systems = ("retinanet", "fcos", "atss", "gfl", "tood", "yolox", "centernet")
    found = {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}
    assert {name for name in found if name.startswith(systems)} == set(RECIPES)
