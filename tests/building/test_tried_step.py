"""A step without content is tried with every training: it asks every part, and keeps no part from training."""

from contextlib import nullcontext
from dataclasses import fields, replace
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from deta.assign import Draw, IoUAssigner, Matches, Prediction, Targets
from deta.building.build import empty_detector, make_recipe, plain
from deta.building.tried_step import require_step
from deta.losses import Criterion, Rule, Until
from tests.building.steps import composed, train_a_step_of
from tests.commands.running import SMALL_MODEL
from tests.systems.composed import DENSE, REGIONS, SYSTEMS, words_of


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


class Keeping(IoUAssigner):
    """A rule of somebody else, which keeps what it has computed first."""

    kept: Tensor | None = None

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        if self.kept is None:
            self.kept = torch.ones(())
        assert self.kept.item() == 1  # which a tensor without content could not tell
        return super().__call__(prediction, targets, draw)


def test_parts_of_others_train_with_what_they_keep() -> None:
    place = "criterion.rules.layers.assigner"
    train_a_step_of("system=deta", f"{place}._target_={__name__}.Keeping", *SMALL_MODEL)


def test_a_quality_may_be_trained_in_one_of_two_phases_alone() -> None:
    cfg = composed(*words_of("fcos"))
    recipe = make_recipe(cfg)
    rule = recipe.criterion.rules["dense"]
    without = replace(rule, box_terms={"giou": rule.box_terms["giou"]})
    terms = {each.name: getattr(rule, each.name) for each in fields(Rule)}
    for rules, is_refused in (({"dense": without}, True), ({"dense": Until(epoch=1, first=without, **terms)}, False)):
        with pytest.raises(ValueError, match="trains the quality that") if is_refused else nullcontext():
            require_step(empty_detector(plain(cfg.model), 1), Criterion(rules), recipe.postprocess)


def test_two_stages_with_one_name_are_refused() -> None:
    groups, rules = "model.body.groups", "criterion.rules"
    words = ["further=[copies]", f"{groups}.copies.num_copies=11"]  # of which the last is copies10
    words += [f"+{groups}.copies1=${{{groups}.copies}}", f"+{rules}.copies1=${{{rules}.copies}}"]
    with pytest.raises(ValueError, match=r"are named 'copies10/layer0' .* model\.body\.groups\.copies another name"):
        make_recipe(composed(*words_of("deformable_detr"), *words))
