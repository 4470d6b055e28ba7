"""Choices that are documented as combinable train together; any other combination is refused before data is read."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations, product
from typing import NoReturn
from unittest import mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict

from deta.assign import Draw, IoUAssigner
from deta.building import build
from deta.building.build import empty_detector, make_detector, make_recipe, plain
from deta.building.tried_step import require_step
from deta.console.naming import register_resolvers
from deta.console.told_words import told_present_words
from deta.losses import Criterion
from deta.studies.conf import config_dir
from deta.training.step import step
from tests.commands.running import SMALL_MODEL
from tests.systems.composed import DENSE, REGIONS, SYSTEMS, words_of
from tests.training.test_step import NUM_CLASSES, batch

Choice = Mapping[str, str]

RULES = ("iou", "release", "hungarian")
PUBLISHED_RULES = ("topk_iou", "max_iou", "atss", "fcos", "simota", "tal", "one_per_object")
LAYERS: Mapping[str, Sequence[str]] = {"rule@layers": (*RULES, "each")}
ALL_OF_LAYERS: Mapping[str, Sequence[str]] = {
    **LAYERS,
    "postprocess": ("nms", "topk"),
    "criterion.rules.layers.normalizer": ("num_targets", "num_positives"),
    "criterion.rules.layers.rematch": ("once", "per_layer"),
}
"""What every detector can choose; the first two try all of it."""
GROUPS = ("[]", "[many]", "[copies]", "[many,copies]")
NOISED = (*GROUPS, "[denoise]", "[contrastive]", "[many,copies,denoise]", "[contrastive,copies]")
CHOICES: Sequence[Mapping[str, Sequence[str]]] = (
    {
        "system": ("deformable_detr",),
        **ALL_OF_LAYERS,
        "further": GROUPS,
        "classes": ("sigmoid", "softmax"),
        "model.body.decoder.refine": ("iterative", "look_forward_twice", "none"),
        "model.body.heads": ("null", "shared"),
        "model.body.source.reference_size": ("2", "4"),
    },
    {
        "system": ("deta", "deformable_detr_two_stage"),
        **ALL_OF_LAYERS,
        "rule@first": RULES,
        "selection": ("topk", "topk_per_level", "topk_per_level_nms"),
        "further": NOISED,
        "model.body.decoder.refine": ("iterative", "look_forward_twice", "none"),
        "model.body.heads": ("null", "shared"),
        "model.body.source.content": ("features", "position", "tokens"),
        "model.body.source.supervise": ("all", "selected"),
    },
    {
        "system": ("dino", "h_detr", "efficient_detr"),
        **LAYERS,
        "rule@first": RULES,
        "further": NOISED,
        "model.body.source.score": ("first_channel", "best_class"),
    },
    {
        "system": ("detr", "group_detr", "deformable_detr_refine"),
        **LAYERS,
        "further": GROUPS,
        "classes": ("sigmoid", "softmax"),
    },
    {
        "system": ("dab_detr", "dab_deformable_detr", "dn_deformable_detr"),
        **LAYERS,
        "further": NOISED,
        "classes": ("sigmoid", "softmax"),
        "model.body.source.num_patterns": ("0", "2"),
        "model.body.source.content": ("zeros", "learned"),
    },
    {
        "system": ("dn_detr", "dn_deformable_detr_encoder_only"),
        **LAYERS,
        "further": tuple(each for each in NOISED if "denoise" in each or "contrastive" in each),
        "classes": ("sigmoid", "softmax"),
    },
    {"system": ("fqdet",), "rule@layers": ("topk_iou",), "rule@first": (*RULES, "topk_iou")},
)
"""What can be chosen, for detectors with equal choices."""


def held(choice: Choice, strength: int) -> set[frozenset[tuple[str, str]]]:
    """All combinations of so many of its options."""
    return {frozenset(each) for each in combinations(choice.items(), strength)}


def covering(axes: Mapping[str, Sequence[str]], strength: int) -> list[Choice]:
    """Few choices that hold every combination of so many options."""
    options = [[(axis, value) for value in values] for axis, values in axes.items()]
    left = {frozenset(values) for part in combinations(options, strength) for values in product(*part)}
    chosen: list[Choice] = []
    while left:
        choice = dict(sorted(min(left, key=sorted)))
        for axis, values in axes.items():
            if axis not in choice:
                own = [held({**choice, axis: value}, strength) for value in values]
                choice[axis] = values[max(range(len(values)), key=lambda place: len(own[place] & left))]
        left -= held(choice, strength)
        chosen.append({axis: choice[axis] for axis in axes})
    return chosen


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case tries its step, whatever this process has tried before."""
    monkeypatch.setattr(build, "_TRIED", set())


def composed(*words: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        given = told_present_words(["size=shapes", "logger=file", *words])
        return compose("train", [*given, "run_dir=none", "name=test"], return_hydra_config=True)


def train_a_step(choice: Choice, *, is_tried: bool = True) -> None:
    """Of a system of queries."""
    train_a_step_of(*(f"{key}={value}" for key, value in choice.items()), *SMALL_MODEL, is_tried=is_tried)


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


@pytest.mark.parametrize("rule", PUBLISHED_RULES)
def test_every_published_rule_assigns_both_stages(rule: str) -> None:
    train_a_step({"system": "deta", "rule": rule})


def test_heat_maps_assign_a_first_stage_of_one_level_alone() -> None:
    choice = {"system": "deta", "rule@first": "gaussian"}
    train_a_step({**choice, "model.neck.num_levels": "1"})
    with pytest.raises(
        ValueError,
        match=r"criterion.rules.first does not suit model.body .*: GaussianAssigner needs candidates that are one grid",
    ):
        train_a_step(choice)


@pytest.mark.parametrize("rule", ["atss", "fcos", "simota"])
def test_a_rule_of_levels_or_strides_refuses_learned_queries(rule: str) -> None:
    choice = {"system": "deformable_detr", "rule@layers": rule}
    with pytest.raises(ValueError, match=r"criterion.rules.layers \(\w+\) needs .* learned queries of model.body"):
        train_a_step(choice)


ASSIGNERS = ("iou", "release", "hungarian", *PUBLISHED_RULES)


def often(system: str, other: str, *systems: str) -> object:
    """A case of every run of the tests for some systems, and of those of slow ones for others."""
    return pytest.param(system, other, marks=[] if system in systems else pytest.mark.slow)


@pytest.mark.parametrize(
    ("system", "rule"),
    [often(*pair, "retinanet", "yolox") for pair in product(DENSE, ASSIGNERS) if pair[0] != "centernet"],
)
def test_a_dense_system_trains_by_every_rule(system: str, rule: str) -> None:
    train_a_step_of(*words_of(system), f"assigner@criterion.rules.dense.assigner={rule}")


@pytest.mark.parametrize(
    ("system", "rule"),
    [often(system, "gaussian", "fcos") for system in DENSE if system != "centernet"]
    + [often("centernet", rule, "centernet" if rule in ("iou", "hungarian") else "") for rule in ASSIGNERS],
)
def test_heat_maps_and_other_dense_systems_refuse_the_rules_of_each_other(system: str, rule: str) -> None:
    cfg = composed(*words_of(system), f"assigner@criterion.rules.dense.assigner={rule}")
    with pytest.raises(ValueError, match=r"criterion.rules.dense does not suit model.body \(DenseBody\)"):
        make_recipe(cfg)


@pytest.mark.parametrize(
    ("system", "rule"),
    [often(*pair, "faster_rcnn") for pair in product(("faster_rcnn", "tsp_rcnn"), ASSIGNERS)],
)
def test_a_system_of_regions_trains_by_every_rule_in_both_stages(system: str, rule: str) -> None:
    first, inner = "criterion.rules.first.assigner.assigner", ".assigner" if system == "faster_rcnn" else ""
    sigmoid = {"hungarian": "scores=sigmoid"} | dict.fromkeys(("simota", "tal", "one_per_object"), "score=null")
    of_first = [f"{first}.{sigmoid[rule]}"] if rule in sigmoid else []
    of_regions = f"assigner@criterion.rules.roi.assigner{inner}={rule}"
    train_a_step_of(*words_of(system), f"assigner@{first}={rule}", *of_first, of_regions)


@pytest.mark.parametrize("rule", ASSIGNERS)
def test_anchors_train_by_every_rule_in_both_stages(rule: str) -> None:
    train_a_step({"system": "fqdet", "rule": rule})


def test_the_words_that_a_refusal_gives_leave_out_what_another_choice_has_set() -> None:
    words = ("system=fqdet", "postprocess=topk", *SMALL_MODEL)
    with pytest.raises(ValueError, match=r"left out by (.*)") as raised:
        make_recipe(composed(*words))
    train_a_step_of(*words, *str(raised.value).partition("left out by ")[2].split())


class Refusing:
    """A term of losses that says no as soon as it is asked."""

    weight = 1.0

    def __call__(self, prediction: object, matches: object, targets: object) -> NoReturn:
        refuse(prediction, targets)


def refuse(prediction: object, original_sizes: object) -> NoReturn:
    """A selection of detections that does so."""
    raise ValueError("it is refused here")


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(system, marks=[] if system in ("deformable_detr", "retinanet") else pytest.mark.slow)
        for system in SYSTEMS + DENSE + REGIONS
    ],
)
def test_the_step_without_content_reaches_the_terms_of_every_stage_and_the_postprocessing(system: str) -> None:
    cfg = composed(*words_of(system))
    recipe = make_recipe(cfg)
    for role, rule in recipe.criterion.every_rule():
        told = replace(rule, class_terms={"refusing": Refusing()}, box_terms={}, pool=None)
        criterion = Criterion({**dict(recipe.criterion.every_rule()), role: told})
        message = rf"criterion\.rules\.{role} does not suit model\.body \(\w+\): it is refused here"
        with pytest.raises(ValueError, match=message):
            require_step(empty_detector(plain(cfg.model), 1), criterion, recipe.postprocess)
    with pytest.raises(ValueError, match=r"postprocess does not suit model\.body \(\w+\): it is refused here"):
        require_step(empty_detector(plain(cfg.model), 1), recipe.criterion, refuse)


def test_parts_of_others_are_not_tried() -> None:
    """A part may keep a tensor that it has computed first, and that would be one without content."""
    tried = mock.Mock()
    with mock.patch.object(build, "require_step", tried):
        make_recipe(composed("system=deta", *SMALL_MODEL))
        assert tried.call_count == 1
        cfg = composed("system=deta", *SMALL_MODEL)
        with open_dict(cfg):
            cfg.criterion.rules.layers.assigner = {"_target_": f"{__name__}.Keeping"}
        make_recipe(cfg)
        assert tried.call_count == 1


class Keeping(IoUAssigner):
    """A rule of somebody else."""


def name_of(choice: Choice) -> str:
    return " ".join(choice.values())


@pytest.mark.parametrize("choice", [choice for axes in CHOICES for choice in covering(axes, 2)], ids=name_of)
def test_every_pair_of_choices_trains(choice: Choice) -> None:
    train_a_step(choice, is_tried=False)  # every three choices are


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CHOICES)))
def test_every_three_choices_train(number: int) -> None:
    for choice in covering(CHOICES[number], 3):
        train_a_step(choice)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["system=deformable_detr", "selection=topk"], ("selection=topk", "model.body.source")),
        (["system=deformable_detr", "rule@first=iou"], ("rule@first=iou", "criterion.rules.first")),
        (["system=deta", "queries@model.body.source=learned"], ("criterion.rules.first", "model.body")),
        (["system=deta", "criterion.rules.first=null"], ("model.body", "criterion.rules")),
        (["system=deformable_detr", "rule@layers=fcos"], ("criterion.rules.layers", "model.body")),
        (["system=detr", "further=[denoise]"], ("model.body.groups.denoise", "model.body.source")),
        (["system=group_detr", "further=[contrastive]"], ("model.body.groups.denoise", "model.body.source")),
        (["system=dn_detr", "further=[many]"], ("content=label", "model.body.source.labels")),
        (["system=fqdet", "further=[copies]"], ("model.body.groups.copies", "model.body ")),
        (["system=deta", "classes=softmax"], ("model.body.head.scores=softmax", "criterion.rules.first")),
        (["system=detr", "criterion.rules.layers.federated=true"], ("federated=true", "classes=softmax")),
        (["system=detr", "model.neck.num_levels=3"], ("encoder.num_levels", "neck.num_levels")),
        (["system=deformable_detr", "model.body.heads=per_layer"], ("model.body.heads", "model.body.decoder.refine")),
        (
            ["system=deformable_detr", "model.body.heads=with_first_stage"],
            ("model.body.heads=with_first_stage", "first stage"),
        ),
        (
            ["system=deformable_detr", "model.body.decoder.position=references"],
            ("model.body.decoder", "model.body.source"),
        ),
        (["system=detr", "model.body.source.reference_size=2"], ("model.body.decoder", "model.body.source")),
        (["system=group_detr", "model.body.source.reference_size=0"], ("model.body.decoder", "model.body.source")),
        (["system=dab_detr", "model.body.decoder.position=queries"], ("model.body.decoder", "model.body.source")),
        (["system=dino", "model.body.decoder.position=queries"], ("model.body.decoder", "model.body.source")),
        (["system=dab_detr", "model.body.source.content=label"], ("content=label", "model.body.source.labels")),
        (
            ["system=fqdet", "assigner@criterion.rules.first.assigner=tal"],
            ("criterion.rules.first.assigner.score", "postprocess.score"),
        ),
        (["system=fqdet", "rule@first=gaussian"], ("criterion.rules.first", "model.body ")),
        (
            ["system=fqdet", "assigner@criterion.rules.layers.assigner=simota"],
            ("criterion.rules.layers.on", "criterion.rules.layers.assigner"),
        ),
        (
            ["system=fqdet", "assigner@criterion.rules.layers.assigner=hungarian"],
            ("criterion.rules.layers.on", "criterion.rules.layers.assigner"),
        ),
        (
            ["system=fqdet", "assigner@criterion.rules.layers.assigner=release"],
            ("criterion.rules.layers", "model.body "),
        ),
        (["system=fqdet", "queries@model.body.source=encoder"], ("model.body.source", "model.body ")),
        (["system=fqdet", "encoder@model.body.encoder=dense"], ("model.body.encoder", "model.body ")),
        (["system=fqdet", "decoder@model.body.decoder=deformable"], ("model.body.decoder", "model.body ")),
        (["system=deta", "encoder@model.body.encoder=none"], ("model.body.encoder", "model.body ")),
        (["system=deta", "queries@model.body.source=anchors"], ("model.body.source", "model.body ")),
        (["system=deta", "decoder@model.body.decoder=anchors"], ("model.body.decoder", "model.body ")),
        (
            ["system=h_detr", "queries@model.body.source=learned"],
            ("model.body.source.num_classes", "model.body.source ("),
        ),
        (["system=dino", "queries@model.body.source=boxes"], ("model.body.source.supervise", "model.body.source (")),
        (
            ["system=efficient_detr", "queries@model.body.source=points"],
            ("model.body.source.score", "model.body.source ("),
        ),
        (
            ["system=efficient_detr", "decoder@model.body.decoder=boxes"],
            ("model.body.decoder.position", "model.body.source.position"),
        ),
        (["system=h_detr", "model.body.decoder.position=references"], ("model.body.decoder.", "model.body.source.")),
        (["system=tsp_rcnn", "dense_head@model.body.first.head=aligned"], ("model.body.head", "model.body.codec")),
        (["system=tsp_rcnn", "priors@model.body.first.priors=scales"], ("model.body.priors.sizes", ".priors.scales")),
        (["system=yolox", "postprocess=topk"], ("postprocess.threshold", "postprocess (")),
        (["system=tsp_rcnn", "postprocess=one_per_query"], ("postprocess.least_side", "postprocess (")),
        (["system=fqdet", "postprocess=topk"], ("postprocess.iou_threshold", "postprocess (")),
        (["system=retinanet", "postprocess=peaks"], ("postprocess ", "model.body (")),
        (["system=retinanet", "+score@postprocess.score=quality"], ("postprocess ", "model.body (")),
        (["system=retinanet", "+score@postprocess.score=softmax"], ("postprocess.score", "model.body.head")),
        (["system=retinanet", "criterion=fcos"], ("criterion.rules.dense", "model.body ")),
        (["system=retinanet", "criterion=query"], ("criterion.rules.", "model.body ")),
        (["system=retinanet", "criterion=tsp_rcnn"], ("criterion.rules.first", "model.body ")),
        (["system=yolox", "criterion=retinanet"], ("criterion.rules.dense", "model.body ")),
        (["system=faster_rcnn", "criterion=tsp_rcnn"], ("criterion.rules.roi", "model.body ")),
        (
            ["system=faster_rcnn", "assigner@criterion.rules.roi.assigner.assigner=gaussian"],
            ("criterion.rules.roi", "model.body "),
        ),
        (["system=faster_rcnn", "neck@model.neck=pafpn"], ("model.neck.extra", "model.neck (")),
        (["system=tsp_rcnn", "score@postprocess.score=sigmoid"], ("postprocess.score", "model.body.head")),
        (
            ["system=deta", "class_term@criterion.rules.layers.class_terms.class=cross_entropy"],
            ("criterion.rules.layers.class_terms.class", "model.body.head"),
        ),
        (
            ["system=detr", "criterion.rules.layers.assigner.scores=sigmoid"],
            ("criterion.rules.layers.assigner.scores", "model.body.head"),
        ),
    ],
)
def test_choices_that_do_not_go_together_are_refused_by_both_keys(words: list[str], named: tuple[str, str]) -> None:
    cfg = composed(*words)
    with pytest.raises((ValueError, InstantiationException)) as raised:
        make_recipe(cfg)
    assert all(key in str(raised.value) for key in named)
    assert "__init__()" not in str(raised.value)
