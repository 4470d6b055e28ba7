"""The words of a command line that make a training what it is."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import OmegaConf

from deta.console.quoting import quoted, unquoted
from deta.runs.cells import WORDS
from deta.runs.former_words import present_words
from deta.utils.files import read_json, read_yaml, write_json

AUTO = "auto"
"""Value of ``ckpt``: continue the run in this directory if there is one, and leave it alone if it is done."""
SEARCH_PATH = "hydra.searchpath="
"""Begin of the override that names folders of configurations."""
_REMEDY = "remove it and give all words of the run, with ckpt=auto and hydra.run.dir"
_WHERE_AND_HOW = ("cluster", "ckpt", "dry_run", "hydra", "trusted")
_FROM_COMMAND_LINE = ("command-line", "hydra.searchpath in command-line")
"""Hydra's names for ``--config-dir`` and for the override of its search path."""


class _Source(msgspec.Struct):
    provider: str
    schema: str
    path: str


class _Runtime(msgspec.Struct):
    config_sources: list[_Source]


class _Overrides(msgspec.Struct):
    task: list[str]


class _Hydra(msgspec.Struct):
    runtime: _Runtime
    overrides: _Overrides


class _HydraRecord(msgspec.Struct):
    """The part of Hydra's record of a run that tells its words."""

    hydra: _Hydra


def given_words(overrides: Any) -> list[str]:  # noqa: ANN401 - Hydra types its lists of words in several ways
    """The overrides as they were given: a ``${...}`` in them is for the run to resolve."""
    words = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def search_path_words(hydra: Any) -> list[str]:  # noqa: ANN401 - Hydra's node, of this command or on record
    """The override by which another process finds this command's own folders of configurations (``--config-dir``)."""
    sources = [source for source in hydra.runtime.config_sources if source.provider in _FROM_COMMAND_LINE]
    places = [
        f"'{source.schema}://{Path(source.path).absolute() if source.schema == 'file' else source.path}'"
        for source in sources
    ]
    return [f"{SEARCH_PATH}[{','.join(dict.fromkeys(places))}]"] if places else []


def complete_words(hydra: Any) -> list[str]:  # noqa: ANN401 - as above
    """The overrides of a command, and before them where it found its configurations."""
    return [*search_path_words(hydra), *given_words(hydra.overrides.task)]


def record_words(run: Path, words: Iterable[str]) -> None:
    """Make ``words`` those of a run; a kill at any moment leaves the earlier ones or these."""
    write_json(run / WORDS, list(words))


def recorded_words(run: Path) -> list[str] | None:
    """``complete_words`` of the latest part of a run that began to train, by the present names of their keys.

    None if it has none on record.

    Runs without a record of ours have that of Hydra, which every start overwrites.

    Raises:
        ValueError: The record is damaged.
    """
    record = run / WORDS
    if not record.is_file():
        older = run / ".hydra" / "hydra.yaml"
        return _hydras_words(older) if older.is_file() else None
    try:
        return present_words(read_json(record, list[str]))
    except ValueError as error:
        raise ValueError(f"{error}: {_REMEDY}") from error


def _hydras_words(record: Path) -> list[str]:
    """``complete_words`` of what Hydra has written down."""
    try:
        found = msgspec.convert(read_yaml(record), _HydraRecord).hydra
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f"{record} is of no use ({error}): {_REMEDY}") from error
    return [*search_path_words(found), *present_words(found.overrides.task)]


def training_words(words: Iterable[str]) -> list[str]:
    """Overrides without those that say where and how a run was started, for starting it in another way.

    A named sweep stays, since it may tie keys together; that it sweeps is taken from it.
    """
    kept = [
        word
        for word in words
        if word.startswith(SEARCH_PATH) or re.split(r"[./@=]", word.lstrip("+~"))[0] not in _WHERE_AND_HOW
    ]
    is_of_sweep = any(word.startswith("sweep=") for word in kept)
    return [*kept, "hydra.mode=RUN"] if is_of_sweep else kept


def job_words(words: Iterable[str], folder: Path, start: str | None = None) -> list[str]:
    """Words of the ``deta train`` that does one run of this command in another process.

    Args:
        words: Of the command.
        folder: The run directory.
        start: The run or checkpoint outside of it from which it starts; None starts afresh.
    """
    ckpt = AUTO if start is None else quoted(start)
    return [*training_words(words), f"ckpt={ckpt}", f"hydra.run.dir='{folder.resolve()}'"]


def given_start(words: Iterable[str]) -> str | None:
    """What words name as the checkpoint, as it is written; None where they name none."""
    found = [unquoted(word.partition("=")[2]) for word in words if word.partition("=")[0].lstrip("+") == "ckpt"]
    return None if not found or found[-1] in (AUTO, "null") else found[-1]


def with_start(words: Iterable[str], start: str | None) -> list[str]:
    """The words with this run or checkpoint as the one from which they start, wherever they are given again."""
    kept = [word for word in words if word.partition("=")[0].lstrip("+") != "ckpt"]
    return list(words) if start is None else [*kept, f"ckpt={quoted(start)}"]
