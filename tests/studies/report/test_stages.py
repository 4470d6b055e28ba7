"""Stages of a detector."""

from deta.studies.report.stages import stage_title, stages
from tests.studies.report.making import run, training


def test_stages_stand_in_the_order_of_the_network() -> None:
    names = ("many/layers", "layer10", "layers", "many/layer0", "layer2", "theirs", "proposals")
    rows = [{f"assign/{name}/mean_iou": 0.5} for name in names] + [{"assign/other/mean_iou_small": 1.0}]
    found = stages([training(run(rows))], "mean_iou")
    assert found == ["proposals", "layers", "theirs", "layer2", "layer10", "many/layers", "many/layer0"]
    assert [stage_title(name) for name in found] == [
        "first stage (proposals)",
        "second stage (last decoder layer)",
        "theirs",
        "decoder layer 2",
        "decoder layer 10",
        "many: second stage (last decoder layer)",
        "many: decoder layer 0",
    ]


def test_a_quantity_that_nobody_logged_has_no_stage() -> None:
    assert stages([], "instability") == []
