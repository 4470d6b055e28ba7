"""What ``--help`` tells."""

import re

import pytest

from deta.console.catalogue import COMMANDS
from tests.commands.running import deta, fail, succeed


@pytest.mark.parametrize(
    ("command", "group", "base", "choice"),
    [("study", "study/question@study", "product", "tau2"), ("search", "search", "default", "tau_n")],
)
def test_a_file_that_others_are_built_on_is_no_choice(command: str, group: str, base: str, choice: str) -> None:
    (line,) = re.findall(rf"^  {group}=\?+ +(.*)$", succeed(command, "--help", "all").out, re.MULTILINE)
    assert choice in line.split(", ")
    assert base not in line.split(", ")


@pytest.mark.parametrize("group", ["data", "evaluator"])
def test_what_was_stored_is_a_choice_where_a_checkpoint_is_read_alone(group: str) -> None:
    choices = {
        command: re.findall(rf"^  {group}=\w+ +(.*)$", succeed(command, "--help", "all").out, re.MULTILINE)
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
    (line,) = re.findall(r"^  further=(\S*) +(.*)$", succeed("train", *words, "--help", "all").out, re.MULTILINE)
    assert line == (chosen, "contrastive, copies, denoise, many")


def test_keys_of_further_queries_are_told_with_what_their_file_says() -> None:
    told = succeed("train", "further=[many,denoise]", "--help", "all").out
    for key, meaning in (
        ("model.body.groups.many.num_queries=null", "null = times as many as detect"),
        ("model.body.groups.denoise.label_noise=0.2", "probability of another label"),
        ("criterion.rules.many.repeat=6", "how often every object is offered to a one-to-one rule"),
    ):
        assert re.search(rf"^  {re.escape(key)} +{re.escape(meaning)}$", told, re.MULTILINE)


def test_the_short_help_fits_a_screen_and_names_what_people_change() -> None:
    told = succeed("train", "--help").out
    assert len(told.splitlines()) < 70
    for key in ("experiment", "system", "data.root", "data.batch_size", "optimizer.lr", "trainer.max_epochs", "ckpt"):
        assert re.search(rf"^  {re.escape(key)}=", told, re.MULTILINE), key
    assert "deta train --help all" in told


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.main])
def test_what_the_short_help_names_exists(command: str) -> None:
    told = succeed(*command.split(), *(["search=lr"] if command == "search" else []), "--help").out
    for name in (name for names in COMMANDS[command].main.values() for name in names):
        assert re.search(rf"^  {re.escape(name)}=", told, re.MULTILINE), name


def test_help_on_a_word_tells_the_keys_with_the_word_in_them() -> None:
    told = succeed("train", "--help", "tau").out
    assert re.findall(r"^  (criterion\S+)=", told, re.MULTILINE) == [
        "criterion.rules.first.assigner.tau",
        "criterion.rules.layers.assigner.tau",
    ]
    assert "--help wat: deta train has no key, group or choice of that name" in fail("train", "--help", "wat")


def test_help_may_stand_before_and_behind_the_command() -> None:
    expected = succeed("data", "check", "--help").out
    assert succeed("help", "data", "check").out == succeed("--help", "data", "check").out == expected


def test_commands_below_a_word_are_listed() -> None:
    assert "deta data assign" in succeed("data", "--help").out
    assert deta("data").code == 2
