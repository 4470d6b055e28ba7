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
