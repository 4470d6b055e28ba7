"""Rules side by side, as words."""

import pytest

from deta.console.rule_words import LOOK_AT_PREDICTIONS, rule_words

GROUPS = {
    "compare": ["all", "anchors", "atss", "iou"],
    "assigner": ["atss", "hungarian", "iou", "iou_proposals", *LOOK_AT_PREDICTIONS],
}


def words(*given: str) -> list[str]:
    return rule_words(list(given), GROUPS.__getitem__)


def test_one_rule_alone_is_swept_as_it_is() -> None:
    assert words("assigner=iou", "grid.tau=[0.5]") == ["assigner=iou", "grid.tau=[0.5]"]
    assert words("data=shapes") == ["data=shapes"]


def test_rules_stand_on_their_own_candidates_or_else_on_anchors() -> None:
    assert words("data=shapes", "assigner=[iou, hungarian]") == [
        "compare=[iou]",
        "+compare@compare.hungarian=anchors",
        "+assigner@compare.hungarian.assigner=hungarian",
        "data=shapes",
    ]


def test_all_rules_are_those_of_candidates_and_those_that_look_at_predictions() -> None:
    chosen = words("assigner=all")
    assert chosen[0] == "compare=[all]"
    assert chosen[1::2] == [f"+compare@compare.{name}=anchors" for name in LOOK_AT_PREDICTIONS]


def test_settings_are_of_a_rule_by_its_name() -> None:
    given = ("assigner=[iou,atss]", "assigner.atss.k=15", "+assigner.iou.candidates.scale=0.1", "assigner.tau=0.5")
    assert words(*given)[1:] == ["compare.atss.assigner.k=15", "+compare.iou.candidates.scale=0.1", "assigner.tau=0.5"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("assigner=[iou,atsss]", "no rule atsss; did you mean atss"),
        ("assigner=iou,atss", r"several rules are a list: 'assigner=\[iou,atss\]'"),
        ("assigner=[]", "no rule without a name; rules: atss, iou"),
        ("compare=all", "several rules are assigner="),
        ("+compare.atss.k=1", "several rules are assigner="),
    ],
)
def test_a_mistake_names_what_there_is(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        words(word)
