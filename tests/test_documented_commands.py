"""Every command line of the documents is one that the command takes, with keys that exist and values that compose."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import pytest

from deta.console.catalogue import COMMANDS as COMMANDS_OF_DETA
from deta.console.catalogue import COMPLETION, begins_command, below
from tests.commands.running import deta
from tests.conftest import ROOT
from tests.own_package import PACKAGE, write_package

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(deta [^`]+)`")
PLACEHOLDER = re.compile(r"<[^<>]*>")
MISTYPED = ("deta evaluate", "deta data chekc")
"""What the documents show to be answered by what was meant."""
KNOWN = (*COMMANDS_OF_DETA, COMPLETION)
STAND_IN = {"submitit": "cluster=sbatch"}
"""Extras that the test does without."""


def commands_of(page: Path) -> Iterator[str]:
    """Words after ``deta`` of every command in a page: those of its blocks, and those in its text that name a key."""
    text = text_of(page)
    for block in BLOCK.findall(text):
        variables = dict(re.findall(r'^(\w+)="(.*)"$', block, re.MULTILINE))
        yield from _commands_of_block(block.replace("\\\n", " "), variables or _variables(text))
    for span in SPAN.findall(BLOCK.sub("", text).replace("\n", " ")):
        if "=" in span:
            yield span.removeprefix("deta ")


def text_of(page: Path) -> str:
    """What a page says; of a notebook beside its code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = nbformat.reads(text, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def _variables(text: str) -> dict[str, str]:
    return dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))


def _commands_of_block(block: str, variables: dict[str, str]) -> Iterator[str]:
    for line in block.splitlines():
        found = re.search(r"^(?:\s*'|\. .* && )?deta (.+)", line)
        if line.startswith(("#", "pip ", "defaults", "  - ")) or not found:
            continue
        command = found[1].removesuffix("'") if "'deta " in line else found[1]
        for name, value in variables.items():
            command = command.replace(f"${name}", value)
        yield command


def as_given(command: str, folder: Path) -> list[str]:
    """The words with something real in place of placeholders and files."""
    (folder / "own").mkdir(exist_ok=True)
    filled = PLACEHOLDER.sub("x", command.replace("$SLURM_PROCID", "1"))
    words = shlex.split(filled, comments=True)
    return [str(folder / "own") if word == "mine" else word for word in words if word != "..."]


COMMANDS = sorted({command: page.name for page in PAGES for command in commands_of(page)}.items())
"""Every command, and the last page that has it."""


CHOSEN = ("experiment", "system", "rule", "study", "sweep", "search", "data", "cluster", "logger", "trainer")
"""Keys of which every value is tried, as each is a file."""


def with_every_word() -> list[str]:
    """Few of the commands that have every key, choice and option of all, each behind the command that takes it."""

    def told(word: str) -> str:
        key, equals, _ = word.partition("=")
        return word if word.startswith("-") or key in CHOSEN else f"{key}=" if equals else "a name"

    held = {
        command: {(words[0], told(word)) for word in words} for command, _ in COMMANDS if (words := command.split())
    }
    left = set().union(*held.values())
    chosen = []
    while left:
        chosen.append(max(held, key=lambda command: len(held[command] & left)))
        left -= held[chosen[-1]]
    return chosen


OFTEN = with_every_word()


@pytest.mark.parametrize(
    ("command", "page"), [pytest.param(*each, marks=[] if each[0] in OFTEN else pytest.mark.slow) for each in COMMANDS]
)
def test_every_command_of_the_documents_composes(
    command: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if PACKAGE in command:
        write_package(tmp_path / "package")
        monkeypatch.syspath_prepend(tmp_path / "package")
    words = as_given(command, tmp_path)
    outcome = deta(*planned(words))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]  # it goes with its folder
    assert outcome.code == 0, f"{page}: deta {command}\n{outcome.err}"


def planned(words: Sequence[str]) -> list[str]:
    """The command so that it only says what it would do."""
    if words[0] in ("--help", "-h", "--version") or "--help" in words or words[-1] == "-h" or words[0] == "help":
        return list(words)
    if words[0] == "completion":
        return list(words[:2])
    composed = [word for word in words if word not in ("-m", "--multirun")]
    return [*map(first_value, composed), "--cfg", "job"]


def first_value(word: str) -> str:
    """Of a sweep over values with commas the first; lists stay."""
    key, equals, value = word.partition("=")
    is_sweep = "," in value and not value.startswith(("[", "{", "'")) and key not in ("source",)
    return f"{key}={value.partition(',')[0]}" if equals and is_sweep else word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_only_named_is_one(page: Path) -> None:
    for span in SPAN.findall(BLOCK.sub("", text_of(page)).replace("\n", " ")):
        words = span.split()[1:]
        if "=" not in span and span not in MISTYPED:
            assert begins_command(words[0]) or words[0] == COMPLETION, span
            assert not below(words[0]) or words[0] in KNOWN or " ".join(words[:2]) in KNOWN, span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_program_of_the_documents_has_the_options_that_it_is_given(page: Path) -> None:
    for line in (line for block in BLOCK.findall(text_of(page)) for line in block.replace("\\\n", " ").splitlines()):
        if found := re.search(r"^python (?:-m )?(\S+)(.*?)(?:  #.*)?$", line):
            (source,) = [path for path in places_of_program(found[1]) if path.is_file()]
            for option in re.findall(r"--[\w-]+", found[2]):
                assert f'"{option}"' in source.read_text(encoding="utf-8"), line


def places_of_program(name: str) -> list[Path]:
    """Where ``python name`` and ``python -m name`` look."""
    if name.endswith(".py"):
        return [ROOT / name]
    module = Path(*name.split("."))
    return [
        root / path for root in (ROOT, ROOT / "kernels") for path in (module.with_suffix(".py"), module / "__main__.py")
    ]


def test_all_documents_have_commands_that_are_found() -> None:
    pages = {page.name for page in PAGES if any(commands_of(page))}
    assert {"README.md", "sweeps.md", "studies.md", "tracking.md", "slurm.md", "analysis.md", "report.md"} <= pages
    assert len(COMMANDS) > 60
