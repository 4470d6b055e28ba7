"""Words as an older state of the code took them make the same configuration, which identifies the same run."""

import pytest

from deta.console.naming import NUM_DIGITS, run_name
from deta.runs.former import present_key
from deta.runs.former_words import present_words
from tests.commands.composed import composed, kept_hydra
from tests.commands.running import deta

NAMES = {
    ("model.hidden_dim=64",): "hidden_dim64-s0-d19acc49",
    ("model.encoder.num_layers=1", "model.decoder.num_layers=2"): "decoder.num_layers2-encoder.num_layers1-s0-23f3e2bf",
    ("proposals@model.proposals=topk",): "topk-s0-0b6313e3",
    ("proposals@model.proposals=learned", "model=deta_small"): "learned-s0-34afa4b2",
    ("model.proposals.num_queries=5", "optimizer.lr=1"): "num_queries5-lr1-s0-98143422",
    ("model.proposals.num_classes=7", "model.num_classes=6"): "model.num_classes6-proposals.num_classes7-s0-9eaa6b1a",
    ("+optimizer.lr_factors.proposals=.5",): "proposals0.5-s0-3ebeaffd",
    ("+model.pixel_mean=[.1,.2,.3]",): "pixel_mean_763f-s0-bea989f2",
    ("model.proposals.selection.nms_threshold=.5",): "nms_threshold0.5-s0-8962e382",
    ("model.decoder.refine=none", "model.backbone.num_blocks=1"): "num_blocks1-refinenone-s0-830a1190",
    ("model.hidden_dim=96", "model.neck.hidden_dim=64"): "hidden_dim64-s0-2e61fe4f",
    ("model.encoder.ffn_dim=${model.decoder.ffn_dim}",): "s0-f39a9661",
}
"""Of the demo with these words, as the older code named the runs of a sweep; the end alone identifies a run."""


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_a_run_keeps_the_end_of_its_name(words: tuple[str, ...]) -> None:
    swept = [present_key(word.partition("=")[0]) for word in words if word.startswith("model.proposals.num_queries")]
    with kept_hydra():
        cfg = composed("experiment=deta_shapes", *present_words(words))
        assert run_name(*swept, _root_=cfg)[-NUM_DIGITS - 1 :] == NAMES[words][-NUM_DIGITS - 1 :]


def test_a_sweep_over_former_criteria_is_refused_with_what_to_write() -> None:
    refused = deta("train", "-m", "experiment=deta_shapes", "criterion=deta,hungarian")
    assert refused.code == 2
    assert "Sweep rule=iou,hungarian, and give selection=<name> and postprocess=<name>" in refused.err


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("criterion.rematch=once", "criterion=hungarian"), "a67b3834"),
        (("criterion=hungarian", "criterion.rematch=once"), "a67b3834"),
        (("assigner@criterion.layer_assigner=iou", "criterion=hungarian"), "d1e6d58c"),
        (("criterion=hungarian",), "4b5bb751"),
        (("criterion=hungarian", "+criterion.layer_assigner.focusing=1.5"), "d4ee53f9"),
        (("+criterion='hungarian'",), "4b5bb751"),
        (("model=deta_r50",), "fa704870"),
        (("model=deta_small",), "f39a9661"),
        (("model=deformable_detr_r50",), "0bb0e584"),
        (("model.decoder.ffn_dim=${oc.select:model.encoder.ffn_dim,3}",), "f39a9661"),
    ],
)
def test_choices_and_values_mean_the_same_in_any_order(words: tuple[str, ...], end: str) -> None:
    with kept_hydra():
        cfg = composed(*present_words(["experiment=deta_shapes", *words]))
        assert run_name(_root_=cfg)[-NUM_DIGITS:] == end


def test_a_former_criterion_beside_a_rule_is_refused() -> None:
    assert "both choose rules" in deta("train", "criterion=deta", "rule=hungarian").err
    assert "which no sweep ties together" in deta("train", "-m", "model=deta_small,deta_r50").err


def test_an_argument_that_a_rule_had_before_is_taken_where_it_is_of_that_rule() -> None:
    shown = ("--cfg", "job", "--package", "criterion.rules.layers.assigner")
    one_to_one = deta("train", "experiment=deta_shapes_one_to_one", "+criterion.layer_assigner.gamma=1.5", *shown)
    assert "focusing: 1.5\n" in one_to_one.out
    assert "gamma" not in one_to_one.out
    place = "+criterion.rules.layers.assigner"
    assert f"deta: written otherwise by now: {place}.gamma=1.5 is {place}.focusing=1.5\n" in one_to_one.err
    by_overlap = deta("train", "experiment=deta_shapes", "criterion.rules.layers.assigner.gamma=0.5", *shown)
    assert "gamma: 0.5\n" in by_overlap.out
    assert by_overlap.err == ""


def test_one_line_names_the_words_that_are_written_otherwise_by_now() -> None:
    words = ("model.proposals.num_queries=7", "proposals@model.proposals=topk", "seed=3")
    shown = deta("train", "experiment=deta_shapes", *words, "--cfg", "job", "--package", "model.body.source")
    assert "num_queries: 7" in shown.out
    assert "selection.TopKPositions\n" in deta("train", *words, "--cfg", "job", "--package", "selection").out
    assert shown.err == (
        "deta: written otherwise by now: model.proposals.num_queries=7 is model.body.source.num_queries=7, "
        "proposals@model.proposals=topk is queries@model.body.source=encoder selection=topk\n"
    )
