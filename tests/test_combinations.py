"""Choices that are documented as combinable train together; any other combination is refused before data is read."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, product

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from deta.assign import Draw
from deta.commands.build import make_detector, make_recipe
from deta.commands.naming import register_resolvers
from deta.commands.told_words import told_present_words
from deta.studies.conf import config_dir
from deta.training.step import step
from tests.commands.running import SMALL_MODEL
from tests.training.test_step import NUM_CLASSES, batch

Choice = Mapping[str, str]

RULES = ("iou", "release", "hungarian")
PUBLISHED_RULES = ("topk_iou", "max_iou", "atss", "fcos", "simota", "tal", "one_per_object")
ONE_STAGE: Mapping[str, Sequence[str]] = {
    "system": ("deformable_detr",),
    "rule@layers": RULES,
    "postprocess": ("nms", "topk"),
    "criterion.rules.layers.normalizer": ("num_targets", "num_positives"),
    "criterion.rules.layers.rematch": ("once", "per_layer"),
    "model.body.decoder.refine": ("iterative", "none"),
    "model.body.source.reference_size": ("2", "4"),
}
"""What can be chosen for a detector of learned queries."""
TWO_STAGES: Mapping[str, Sequence[str]] = {
    **ONE_STAGE,
    "system": ("deta", "deformable_detr_two_stage"),
    "rule@first": RULES,
    "selection": ("topk", "topk_per_level", "topk_per_level_nms"),
    "model.body.source.reference_size": ("4",),
    "model.body.source.content": ("features", "position"),
}
"""And for one with a first stage."""


def pairs(choice: Choice) -> set[tuple[tuple[str, str], ...]]:
    return set(combinations(sorted(choice.items()), 2))


@lru_cache
def every(number: int) -> tuple[Choice, ...]:
    axes = (ONE_STAGE, TWO_STAGES)[number]
    return tuple(dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def pairwise() -> list[Choice]:
    """Few choices that hold every pair of options, the one with most new pairs first."""
    chosen = []
    for number in range(2):
        held = [(choice, pairs(choice)) for choice in every(number)]
        left = set().union(*(own for _, own in held))
        while left:
            choice, own = max(held, key=lambda entry: len(entry[1] & left))
            left -= own
            chosen.append(choice)
    return chosen


def composed(choice: Choice) -> DictConfig:
    register_resolvers()
    words = [f"{key}={value}" for key, value in choice.items() if key != "model.body.source.reference_size"]
    is_learned = choice["system"] == "deformable_detr"
    more = [f"model.body.source.reference_size={choice['model.body.source.reference_size']}"] if is_learned else []
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        given = told_present_words(["size=shapes", "logger=file", *words, *more, *SMALL_MODEL])
        return compose("train", [*given, "run_dir=none", "name=test"], return_hydra_config=True)


def train_a_step(choice: Choice) -> None:
    """As a training does: made, checked, one step back through the network, one selection of detections."""
    cfg = composed(choice)
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
    train_a_step({"system": "deta", "rule": rule, "model.body.source.reference_size": "4"})


def test_heat_maps_assign_a_first_stage_of_one_level_alone() -> None:
    choice = {"system": "deta", "rule@first": "gaussian", "model.body.source.reference_size": "4"}
    train_a_step({**choice, "model.neck.num_levels": "1"})
    with pytest.raises(ValueError, match="GaussianAssigner needs candidates that are one grid"):
        train_a_step(choice)


@pytest.mark.parametrize("rule", ["atss", "fcos", "simota"])
def test_a_rule_of_levels_or_strides_refuses_learned_queries(rule: str) -> None:
    choice = {"system": "deformable_detr", "rule@layers": rule, "model.body.source.reference_size": "4"}
    with pytest.raises(ValueError, match=r"criterion.rules.layers \(\w+\) needs .* learned queries of model.body"):
        train_a_step(choice)


def name_of(choice: Choice) -> str:
    return " ".join(choice.values())


@pytest.mark.parametrize("choice", pairwise(), ids=name_of)
def test_every_pair_of_choices_trains(choice: Choice) -> None:
    train_a_step(choice)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_every_combination_of_choices_trains(number: int) -> None:
    for choice in every(number):
        train_a_step(choice)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["system=deformable_detr", "selection=topk"], ("selection=topk", "model.body.source")),
        (["system=deformable_detr", "rule@first=iou"], ("rule@first=iou", "criterion.rules.first")),
        (["system=deta", "queries@model.body.source=learned"], ("criterion.rules.first", "model.body")),
        (["system=deta", "criterion.rules.first=null"], ("model.body", "criterion.rules")),
        (["system=deformable_detr", "rule@layers=fcos"], ("criterion.rules.layers", "model.body")),
    ],
)
def test_choices_that_do_not_go_together_are_refused_by_both_keys(words: list[str], named: tuple[str, str]) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        given = told_present_words([*words, "size=shapes", "logger=file", "run_dir=none", "name=test"])
        cfg = compose("train", given, return_hydra_config=True)
    with pytest.raises(ValueError, match=rf"{named[0]}.*") as raised:
        make_recipe(cfg)
    assert all(key in str(raised.value) for key in named)
