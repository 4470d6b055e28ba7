"""What ``--help`` tells."""

import re

import pytest

from tests.commands.running import succeed


@pytest.mark.parametrize(
    ("command", "group", "base", "choice"),
    [("study", "study/question@study", "product", "tau2"), ("search", "search", "default", "tau_n")],
)
def test_a_file_that_others_are_built_on_is_no_choice(command: str, group: str, base: str, choice: str) -> None:
    (line,) = re.findall(rf"^  {group}=\?+ +(.*)$", succeed(command, "--help").out, re.MULTILINE)
    assert choice in line.split(", ")
    assert base not in line.split(", ")


@pytest.mark.parametrize("group", ["data", "evaluator"])
def test_what_was_stored_is_a_choice_where_a_checkpoint_is_read_alone(group: str) -> None:
    choices = {
        command: re.findall(rf"^  {group}=\w+ +(.*)$", succeed(command, "--help").out, re.MULTILINE)
        for command in ("eval", "train")
    }
    assert ["stored" in line.split(", ") for line in choices["eval"]] == [True]
    assert ["stored" in line.split(", ") for line in choices["train"]] == [False]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [((), "[]"), (("system=dino",), "[contrastive]"), (("system=dino", "further=[many,copies]"), "[many,copies]")],
)
def test_a_group_of_which_any_number_is_chosen_is_listed_with_those_that_are(
    words: tuple[str, ...], chosen: str
) -> None:
    (line,) = re.findall(r"^  further=(\S*) +(.*)$", succeed("train", *words, "--help").out, re.MULTILINE)
    assert line == (chosen, "contrastive, copies, denoise, many")


def test_keys_of_further_queries_are_told_with_what_their_file_says() -> None:
    told = succeed("train", "further=[many,denoise]", "--help").out
    for key, meaning in (
        ("model.body.groups.many.num_queries=null", "null = times as many as detect"),
        ("model.body.groups.denoise.label_noise=0.2", "probability of another label"),
        ("criterion.rules.many.repeat=6", "how often every object is offered to a one-to-one rule"),
    ):
        assert re.search(rf"^  {re.escape(key)} +{re.escape(meaning)}$", told, re.MULTILINE)
