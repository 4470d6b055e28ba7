"""Choices that are documented as combinable train together."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import pytest

from tests.building.steps import ASSIGNERS, PUBLISHED_RULES, often, train_a_step_of
from tests.commands.running import SMALL_MODEL
from tests.systems.composed import DENSE, words_of

Choice = Mapping[str, str]

RULES = ("iou", "release", "hungarian")
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
FEW = ("[]", "[many]", "[denoise]", "[contrastive,copies]")
"""For detectors with the code of others, which try all of them."""
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
        "further": FEW,
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
        "further": FEW,
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


def train_a_step(choice: Choice, *, is_tried: bool = True) -> None:
    """Of a system of queries."""
    train_a_step_of(*(f"{key}={value}" for key, value in choice.items()), *SMALL_MODEL, is_tried=is_tried)


@pytest.mark.parametrize("rule", PUBLISHED_RULES)
def test_every_published_rule_assigns_both_stages(rule: str) -> None:
    train_a_step({"system": "deta", "rule": rule})


def test_heat_maps_assign_a_first_stage_of_one_level() -> None:
    train_a_step({"system": "deta", "rule@first": "gaussian", "model.neck.num_levels": "1"})


@pytest.mark.parametrize(
    ("system", "rule"),
    [often(*pair, "retinanet") for pair in product(DENSE, ASSIGNERS) if pair[0] != "centernet"],
)
def test_a_dense_system_trains_by_every_rule(system: str, rule: str) -> None:
    train_a_step_of(*words_of(system), f"assigner@criterion.rules.dense.assigner={rule}")


@pytest.mark.parametrize(
    ("system", "rule"),
    [
        often(*pair, "faster_rcnn" if pair[1] in ("iou", "hungarian", "max_iou", "atss") else "")
        for pair in product(("faster_rcnn", "tsp_rcnn"), ASSIGNERS)
    ],
)
def test_a_system_of_regions_trains_by_every_rule_in_both_stages(system: str, rule: str) -> None:
    first, inner = "criterion.rules.first.assigner.assigner", ".assigner" if system == "faster_rcnn" else ""
    sigmoid = {"hungarian": "scores=sigmoid"} | dict.fromkeys(("simota", "tal", "one_per_object"), "score=null")
    of_first = [f"{first}.{sigmoid[rule]}"] if rule in sigmoid else []
    of_regions = f"assigner@criterion.rules.roi.assigner{inner}={rule}"
    train_a_step_of(*words_of(system), f"assigner@{first}={rule}", *of_first, of_regions)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=[] if rule in ("iou", "hungarian", "topk_iou") else pytest.mark.slow)
        for rule in ASSIGNERS
    ],
)
def test_anchors_train_by_every_rule_in_both_stages(rule: str) -> None:
    train_a_step({"system": "fqdet", "rule": rule})


def name_of(choice: Choice) -> str:
    return " ".join(choice.values())


@pytest.mark.gate
@pytest.mark.parametrize("choice", [choice for axes in CHOICES for choice in covering(axes, 2)], ids=name_of)
def test_every_pair_of_choices_trains(choice: Choice) -> None:
    train_a_step(choice, is_tried=False)  # every three choices are


TWO_STAGES = ("deta", "deformable_detr_two_stage", "dino", "h_detr", "efficient_detr")
WHOLE: Sequence[Mapping[str, Sequence[str]]] = (
    {
        "rule@layers": RULES,
        "rule@first": RULES,
        "selection": ("topk", "topk_per_level", "topk_per_level_nms"),
        "postprocess": ("nms", "topk"),
    },
    {"rule@layers": RULES, "postprocess": ("nms", "topk")},
)
"""Rules of both stages, selections of proposals and of detections, of systems with and without a first stage."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "axes"),
    [(system, WHOLE[system not in TWO_STAGES]) for axes in CHOICES for system in axes["system"] if system != "fqdet"],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_rules_and_selections_train_together(system: str, axes: Mapping[str, Sequence[str]]) -> None:
    for values in product(*axes.values()):
        train_a_step({"system": system, **dict(zip(axes, values, strict=True))})


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CHOICES)))
def test_every_three_choices_train(number: int) -> None:
    for choice in covering(CHOICES[number], 3):
        train_a_step(choice)
