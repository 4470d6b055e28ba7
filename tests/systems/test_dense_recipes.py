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
from deta.building.build import group_settings, make, make_detector, without_pretrained
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.losses import Criterion, Until
from deta.structures import DetectionOutput, StageKey
from deta.training.joint import JointOptimizer
from deta.training.optim import PARAMETER_NAMES, parameter_groups, parameter_kinds
from tests.systems.conftest import systems_folder
from tests.systems.dense import pixel_targets
from tests.systems.published import TWINS, published_detector, read
from tests.systems.test_dense import GivenQuality, given
from tests.systems.test_param_groups import published_names

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

STEMS = {
    "retinanet_r50_fpn_torchvision": "retinanet_r50_26ep",
    "retinanet_r50_fpn_v2_torchvision": "retinanet_v2_r50_26ep",
    "retinanet_r50_fpn_mmdet": "retinanet_mmdet_r50_12ep",
    "fcos_r50_fpn_torchvision": "fcos_r50_26ep",
    "fcos_r50_fpn_mmdet": "fcos_mmdet_r50_12ep",
    "atss_r50_fpn_mmdet": "atss_r50_12ep",
    "gfl_r50_fpn_mmdet": "gfl_r50_12ep",
    "tood_r50_fpn_mmdet": "tood_r50_12ep",
    "centernet_r18_mmdet": "centernet_r18_140ep",
    "centernet_r18_dcnv2_mmdet": "centernet_r18_dcnv2_140ep",
    "yolox_s": "yolox_s_300ep",
    "yolox_s_mmdet": "yolox_s_300ep",
    "yolox_l": "yolox_l_300ep",
    "faster_rcnn_r50_fpn_torchvision": "faster_rcnn_r50_26ep",
    "faster_rcnn_r50_fpn_v2_torchvision": "faster_rcnn_v2_r50_400ep",
    "tsp_rcnn_r50": "tsp_rcnn_r50_36ep",
}
"""Published models, and the experiment that trains them."""


@cache
def composed(experiment: str) -> DictConfig:
    """The configuration of a training."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", [f"experiment={experiment}", "name=test", "run_dir=none"])


@pytest.mark.parametrize("stem", STEMS)
def test_every_parameter_learns_as_it_was_published(stem: str, systems_dir: Path) -> None:
    expected = read(systems_dir, stem, "param_groups")["param_groups"]
    names = published_names(published_detector(stem).state_dict(), {}, TWINS.get(stem))
    cfg = composed(STEMS[stem])
    with torch.device("meta"):
        detector = make_detector(without_pretrained(cfg.model), 90)
    groups = parameter_groups(
        detector.named_parameters(), lr=cfg.optimizer.lr, **group_settings(cfg), kinds=parameter_kinds(detector)
    )
    optimizer = make(cfg.optimizer.make)(groups)
    found = {
        names[own]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for own in group[PARAMETER_NAMES]
    }
    trained = {name: entry for name, entry in expected.items() if entry["requires_grad"]}
    assert found == {name: (pytest.approx(entry["lr"]), entry["weight_decay"]) for name, entry in trained.items()}
    if isinstance(optimizer, JointOptimizer):
        kinds = {
            names[own]: type(part).__name__.upper()
            for part in (optimizer._own, optimizer._rest)
            for group in part.param_groups
            for own in group[PARAMETER_NAMES]
        }
        assert kinds == {name: entry["optimizer"] for name, entry in trained.items()}
    fixed = {names[own] for own in detector.state_dict() if not own.endswith("num_batches_tracked")} - trained.keys()
    assert expected.keys() - trained.keys() <= fixed


def recipe_of(stem: str) -> dict[str, Any]:
    """What the file of a model's groups tells beside them."""
    recipe: dict[str, Any] = read(systems_folder(), stem, "param_groups")["recipe"]
    return recipe


@pytest.mark.parametrize("stem", sorted(STEMS.keys() - {"tsp_rcnn_r50"}))
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
        weights = cfg.model.backbone.weights
        assert recipe["backbone_weights"].startswith("none" if weights is None else f"ResNet50 {weights}")
    if "ema_decay" in recipe:
        assert cfg.callbacks.ema.decay == recipe["ema_decay"]


def test_schedule_and_clipping_of_two_optimizers_are_those_of_the_recipe(systems_dir: Path) -> None:
    recipe, cfg = read(systems_dir, "tsp_rcnn_r50", "param_groups")["recipe"], composed("tsp_rcnn_r50_36ep")
    schedule, made = cfg.schedule.make, cfg.optimizer.make
    assert {
        "base_lr": cfg.optimizer.lr,
        "momentum": made.rest.momentum,
        "steps": list(schedule.milestones),
        "max_iter": cfg.trainer.max_steps,
        "warmup_iters": schedule.steps,
        "warmup_factor": schedule.start,
        "gamma": schedule.gamma,
        "min_size_train": list(cfg.augment.short_sides),
        "max_size_train": cfg.augment.max_long_side,
        "pixel_mean": list(cfg.model.input.mean),
        "pixel_std": list(cfg.model.input.std),
    }.items() <= recipe.items()
    assert f"gradient norm {made.max_norm} of parameters" in recipe["clip"]
    assert (schedule.unit, cfg.trainer.gradient_clip_val) == ("step", None)


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
YOLOX = Recipe(300, [285], None, 8, (), 0.01, 0.65, first=285)
CENTERNET = Recipe(140, [90, 120], 999, 16, (), None, None)
RECIPES = {
    "retinanet_r50_26ep": Recipe(26, [16, 22], 1000, overlap=0.5),
    "retinanet_v2_r50_26ep": Recipe(26, [16, 22], 1000, overlap=0.5, short_sides=MULTI_SCALE),
    "fcos_r50_26ep": Recipe(26, [16, 22], 1000, threshold=0.2),
    "retinanet_mmdet_r50_12ep": Recipe(12, [8, 11], 499, overlap=0.5),
    "fcos_mmdet_r50_12ep": Recipe(12, [8, 11], 499),
    "atss_r50_12ep": Recipe(12, [8, 11], 499),
    "gfl_r50_12ep": Recipe(12, [8, 11], 499),
    "tood_r50_12ep": Recipe(12, [8, 11], 499, first=4),
    "yolox_r50_300ep": YOLOX,
    "yolox_s_300ep": YOLOX,
    "yolox_l_300ep": YOLOX,
    "centernet_r18_140ep": CENTERNET,
    "centernet_r18_dcnv2_140ep": CENTERNET,
    "faster_rcnn_r50_26ep": Recipe(26, [16, 22], 1000, overlap=0.5),
    "faster_rcnn_v2_r50_400ep": Recipe(400, [352, 384], 1000, overlap=0.5),
    "tsp_rcnn_r50_36ep": Recipe(37, [180000, 240000], 1000, 2, (640, 672, 704, 736, 768, 800), 0.0, 0.7),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_that_of_its_publication(name: str) -> None:
    cfg = composed(name)
    rule = cfg.criterion.rules.get("dense", {})
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


@pytest.mark.parametrize("name", ["yolox_s_300ep", "yolox_l_300ep", "yolox_r50_300ep"])
def test_yolox_ends_mosaic_and_the_fall_of_its_rate_where_its_further_loss_begins(name: str) -> None:
    cfg = composed(name)
    change = cfg.criterion.rules.dense.epoch
    assert cfg.augment.train.until == change == cfg.schedule.make.milestones[-1] == cfg.trainer.max_epochs - 15
    assert [cfg.augment.size] * 2 == list(cfg.data.pad_to)
    assert (cfg.schedule.make.epochs, cfg.schedule.make.lowest) == (5, 0.05)
    assert (cfg.callbacks.ema.ramp, cfg.optimizer.make.nesterov) == (2000, True)


def test_large_scales_are_drawn_for_the_second_faster_rcnn(systems_dir: Path) -> None:
    assert recipe_of("faster_rcnn_r50_fpn_v2_torchvision")["augmentation"] == "lsj"
    train = composed("faster_rcnn_v2_r50_400ep").augment.train
    jitter, flip = make(train)._transforms
    assert [type(each).__name__ for each in (jitter, flip)] == ["LargeScaleJitter", "RandomHorizontalFlip"]
    assert (train.transforms[0].size, list(train.transforms[0].scale)) == (1024, [0.1, 2.0])


@pytest.mark.parametrize("name", ["yolox_s_300ep", "yolox_l_300ep"])
def test_yolox_sees_blue_first_and_unscaled_pixels_on_a_backbone_of_its_own(name: str) -> None:
    model = composed(name).model
    convention = model.input
    assert (convention.order, convention.scale, convention.pad_value) == ("bgr", 255.0, 114.0)
    assert (list(convention.mean), list(convention.std)) == ([0.0] * 3, [1.0] * 3)
    assert model.backbone._target_ == "deta.models.DarknetBackbone"


def test_recipes_of_mmdetection_have_its_rules_losses_and_scores() -> None:
    retinanet, fcos = (composed(name) for name in ("retinanet_mmdet_r50_12ep", "fcos_mmdet_r50_12ep"))
    rule = retinanet.criterion.rules.dense
    assert (rule.assigner.low_quality, rule.unmatched, rule.normalizer) == (
        "last_object",
        "ignored",
        "num_positives_each",
    )
    rule = fcos.criterion.rules.dense
    assert {name: (term._target_.rpartition(".")[2], term.weight) for name, term in rule.box_terms.items()} == {
        "giou": ("WeightedGIoULoss", 1.0),
        "centerness": ("CenternessLoss", 1.0),
    }
    assert (rule.unmatched, rule.normalizer) == ("background", "num_positives")
    assert (fcos.postprocess.score.root, fcos.postprocess.rank._target_) == (False, "deta.structures.SigmoidScore")
    assert fcos.schedule.make.start == pytest.approx(1 / 3)


def test_every_recipe_of_a_dense_system_is_compared() -> None:
    systems = ("retinanet", "fcos", "atss", "gfl", "tood", "yolox", "centernet", "faster_rcnn", "tsp_rcnn")
    found = {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}
    assert {name for name in found if name.startswith(systems)} == set(RECIPES)


def test_the_second_faster_rcnn_of_torchvision_has_pictures_of_a_wide_range_of_sizes() -> None:
    augment = composed("faster_rcnn_v2_r50_400ep").augment
    jitter = augment.train.transforms[0]
    assert jitter._target_ == "deta.data.LargeScaleJitter"
    assert (jitter.size, list(jitter.scale)) == (1024, [0.1, 2.0])
