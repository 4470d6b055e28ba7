"""What ``--help`` tells."""

import re

import pytest

from tests.commands.running import succeed


@pytest.mark.parametrize(
    ("command", "group", "base", "choice"),
    [("study", "study", "declaration", "tau2_shapes"), ("search", "search", "default", "tau_n")],
)
def test_a_file_that_others_are_built_on_is_no_choice(command: str, group: str, base: str, choice: str) -> None:
    (line,) = re.findall(rf"^  {group}=\?+ +(.*)$", succeed(command, "--help").out, re.MULTILINE)
    assert choice in line.split(", ")
    assert base not in line.split(", ")
