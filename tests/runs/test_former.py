"""What has moved is found by its former name, and what has not is left alone."""

from importlib import import_module
from inspect import signature
from typing import Any

import pytest

from deta.runs.former import (
    ADDED,
    ARGUMENTS,
    BETWEEN,
    CLASSES,
    KEYS,
    WEIGHTS,
    first_target,
    former_names,
    present_argument,
    present_key,
    present_target,
    present_weight,
    with_first_keys,
    with_present_names,
    with_present_weights,
)
from deta.runs.former_words import present_word

FORMER: dict[str, Any] = {
    "model": {
        "_target_": "deta.models.Detector",
        "num_classes": None,
        "hidden_dim": 32,
        "neck": {"_target_": "deta.models.Neck", "hidden_dim": 32},
        "encoder": {"num_layers": 1},
        "proposals": {"selection": {"_target_": "deta.models.selection.TopK"}},
        "decoder": {"refine": "none"},
    },
    "criterion": {
        "_target_": "deta.losses.Criterion",
        "proposal_assigner": {"tau": 0.7},
        "layer_assigner": {"tau": 0.6},
        "rematch": "once",
        "normalizer": "num_targets",
        "class_weight": 1.0,
        "l1_weight": 5.0,
        "giou_weight": 2.0,
    },
    "optimizer": {"lr": 1.0, "lr_factors": {"backbone": 0.1, "proposals": 0.5}},
}
TERMS = {
    "class_terms": {"class": {"_target_": "deta.losses.FocalLoss", "weight": 1.0}},
    "box_terms": {
        "l1": {"_target_": "deta.losses.L1Loss", "weight": 5.0},
        "giou": {"_target_": "deta.losses.GIoULoss", "weight": 2.0},
    },
}
RULE = {"_target_": "deta.losses.Rule", "normalizer": "num_targets", **TERMS}
PRESENT: dict[str, Any] = {
    "model": {
        "_target_": "deta.models.Detector",
        "num_classes": None,
        "input": {"_target_": "deta.models.InputConvention"},
        "neck": {"_target_": "deta.models.Neck", "hidden_dim": 32},
        "body": {
            "_target_": "deta.models.QueryBody",
            "_partial_": True,
            "hidden_dim": 32,
            "encoder": {"num_layers": 1},
            "source": {"selection": {"_target_": "deta.models.query.selection.TopKPositions"}},
            "decoder": {"refine": "none"},
        },
    },
    "criterion": {
        "_target_": "deta.losses.Criterion",
        "rules": {
            "first": {**RULE, "sees": "objects", "assigner": {"tau": 0.7}},
            "layers": {**RULE, "sees": "classes", "rematch": "once", "assigner": {"tau": 0.6}},
        },
    },
    "optimizer": {"lr": 1.0, "lr_factors": {"backbone": 0.1, "source": 0.5}},
}


def test_a_former_configuration_becomes_the_present_one_which_stays_as_it_is() -> None:
    assert with_present_names(FORMER) == PRESENT
    assert with_present_names(PRESENT) == PRESENT
    assert "encoder" in FORMER["model"]  # what was given is not changed


def test_a_criterion_under_the_name_that_it_had_for_a_while_becomes_the_present_one() -> None:
    between = {"criterion": {**FORMER["criterion"], "_target_": "deta.losses.QueryCriterion"}}
    assert with_present_names(between)["criterion"] == PRESENT["criterion"]
    assert with_first_keys(with_present_names(between)) == {"criterion": FORMER["criterion"]}


def test_a_setting_under_both_of_its_names_is_refused() -> None:
    both = {"model": {**PRESENT["model"], "hidden_dim": 64}}
    with pytest.raises(ValueError, match=r"model\.hidden_dim and model\.body\.hidden_dim are one setting"):
        with_present_names(both)


def test_a_former_key_leaves_what_is_written_in_present_names_alone() -> None:
    mixed = with_present_names(FORMER)
    del mixed["criterion"]["rules"]["layers"]["rematch"]
    mixed["criterion"]["rules"]["first"]["normalizer"] = "num_positives"
    found = with_present_names({**mixed, "criterion": {**mixed["criterion"], "rematch": "once"}})
    assert found["criterion"]["rules"]["first"]["normalizer"] == "num_positives"
    assert found["criterion"]["rules"]["layers"]["rematch"] == "once"


@pytest.mark.parametrize("rules", [{}, {"first": 5, "layers": {}}, {"layers": None}, {"first": None}, 3])
def test_rules_of_any_content_are_taken(rules: object) -> None:
    content = {"criterion": {"rules": rules}}
    assert with_first_keys(content)
    assert with_present_names({"criterion": {"rematch": "once"}})


def test_a_detector_without_a_first_stage_has_no_rule_for_it() -> None:
    former = {"criterion": {**FORMER["criterion"], "proposal_assigner": None}}
    present = with_present_names(former)
    assert present["criterion"]["rules"]["first"] is None
    assert with_first_keys(present) == former


def test_a_first_stage_that_is_measured_apart_could_not_be_written_before() -> None:
    apart = with_present_names(FORMER)
    apart["criterion"]["rules"]["first"]["normalizer"] = "num_positives"
    assert with_first_keys(apart)["criterion"] == apart["criterion"]


def test_a_present_configuration_has_its_first_keys_and_they_lead_back() -> None:
    first = with_first_keys(PRESENT)
    selection = {"selection": {"_target_": "deta.models.query.selection.TopKPositions"}}
    assert first == {**FORMER, "model": {**FORMER["model"], "proposals": selection}}
    assert with_present_names(first) == PRESENT


def test_what_could_not_have_been_written_first_keeps_its_keys() -> None:
    mine = {**PRESENT["model"], "body": {"_target_": "mine.Body", "encoder": 3}}
    assert with_first_keys({"model": mine}) == {"model": mine}


def test_a_detector_of_ones_own_keeps_its_keys() -> None:
    mine = {"model": {"_target_": "mine.Detector", "encoder": {"num_layers": 1}}}
    assert with_present_names(mine) == mine


@pytest.mark.parametrize("model", [None, 3, [1], {"body": 3, "encoder": {}}, {"input": [], "pixel_mean": 1}])
def test_any_content_of_a_file_is_taken(model: object) -> None:
    found = with_present_names({"model": model, 1: 2, "optimizer": "fast"})  # type: ignore[dict-item]
    assert set(found) == {"model", 1, "optimizer"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model.decoder.refine=none", "model.body.decoder.refine=none"),
        ("+model.groups.mine=null", "+model.body.groups.mine=null"),
        ("~model.proposals.content", "~model.body.source.content"),
        ("proposals@model.proposals=topk,topk_per_level", "selection=topk,topk_per_level"),
        ("criterion=deta,mine", "criterion=deta,mine"),
        ("rule@first=iou", "rule/first=iou"),
        ("assigner@criterion.layer_assigner=iou", "assigner@criterion.rules.layers.assigner=iou"),
        ("+criterion.gamma=1.5", "+criterion.rules.layers.class_terms.class.focusing=1.5"),
        ("criterion.class_weight=2", "criterion.rules.layers.class_terms.class.weight=2"),
        ("model.encoder.ffn_dim=${model.hidden_dim}", "model.body.encoder.ffn_dim=${model.body.hidden_dim}"),
        (
            "model.proposals.selection._target_=deta.models.selection.TopK",
            "selection._target_=deta.models.query.selection.TopKPositions",
        ),
        ("model.hidden_dimension=3", "model.hidden_dimension=3"),
        ("mine.model.decoder=3", "mine.model.decoder=3"),
        ("data.root=/a/model.decoder.refine", "data.root=/a/model.decoder.refine"),
        ("name=mydeta.models.selection.TopK", "name=mydeta.models.selection.TopK"),
        ("--multirun", "--multirun"),
        ("model=deta_small", "model=deta_small"),
    ],
)
def test_a_word_has_its_present_names_and_is_then_left_alone(word: str, expected: str) -> None:
    assert present_word(word) == expected
    assert present_word(expected) == expected


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (
            ("deta.models.query.selection.TopK", "deta.models.query.selection.TopKPositions"),
            "deta.models.selection.TopK",
        ),
        (
            ("deta.models.query.sources.EncoderProposals", "deta.models.query.proposals.EncoderProposals"),
            "deta.models.proposals.EncoderProposals",
        ),
    ],
)
def test_a_renamed_class_is_found_by_each_of_its_names_and_identifies_a_run_by_the_first(
    names: tuple[str, ...], first: str
) -> None:
    for target in (first, *names):
        assert present_target(target) == names[-1]
        assert first_target(target) == first


def test_every_renamed_class_exists_under_its_present_name() -> None:
    for target in (*CLASSES.values(), *BETWEEN.values()):
        module, _, name = target.rpartition(".")
        assert hasattr(import_module(module), name)


def rule_with(argument: str, target: str = "deta.assign.HungarianAssigner") -> dict[str, Any]:
    """A rule that stands inside another one."""
    return {"compare": {"mine": {"_target_": "mine.Wrapped", "inner": {"_target_": target, argument: 1.5}}}}


def test_an_argument_is_renamed_where_its_class_has_had_it_and_leads_back() -> None:
    former, present = rule_with("gamma"), rule_with("focusing")
    place = "compare.mine.inner"
    assert with_present_names(former) == with_present_names(present) == present
    assert with_first_keys(present) == former
    assert former_names(former) == {f"{place}.gamma": f"{place}.focusing"}
    assert former_names(present) == {}
    assert present_argument(former, f"{place}.gamma") == f"{place}.focusing"


def test_gamma_of_the_rule_of_iou_is_another_quantity_and_stays() -> None:
    other = rule_with("gamma", "deta.assign.IoUAssigner")
    assert with_present_names(other) == with_first_keys(other) == other
    assert former_names(other) == {}
    key = "compare.mine.inner.gamma"
    assert present_argument(other, key) == present_argument({"compare": 3}, key) == key


def test_an_argument_under_both_of_its_names_is_refused() -> None:
    both = {"_target_": "deta.assign.HungarianAssigner", "gamma": 1.0, "focusing": 2.0}
    with pytest.raises(ValueError, match=r"gamma and focusing of deta\.assign\.HungarianAssigner are one setting"):
        with_present_names({"criterion": [both]})


def test_every_renamed_argument_exists_under_its_present_name() -> None:
    for former, present in ARGUMENTS.items():
        module, owner, name = former.rsplit(".", 2)
        arguments = signature(getattr(import_module(module), owner)).parameters
        assert present in arguments
        assert name not in arguments


def test_a_class_of_the_same_name_elsewhere_keeps_it() -> None:
    for target in ("deta.models.postprocess.TopK", "mine.selection.TopK", "TopK"):
        assert present_target(target) == first_target(target) == target


def test_weights_of_a_detector_alone_are_renamed() -> None:
    names = ("detector.heads.0.class_logits.bias", "detector.backbone.body.0.weight", "encoder.level_embed", "heads.x")
    renamed = with_present_weights(dict.fromkeys(names), "detector.")
    assert list(renamed) == ["detector.body.heads.0.class_logits.bias", *names[1:]]
    assert present_weight("proposals.head.class_logits.bias") == "body.source.head.class_logits.bias"


def test_no_present_name_is_a_former_one() -> None:
    assert [present_key(key) for key in (*KEYS.values(), *ADDED)] == [*KEYS.values(), *ADDED]
    assert [present_target(name) for name in CLASSES.values()] == list(CLASSES.values())
    assert [present_weight(name) for name in WEIGHTS.values()] == list(WEIGHTS.values())
