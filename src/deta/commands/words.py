"""The words of a command line that make a training what it is."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

AUTO = "auto"
"""Value of ``ckpt``: continue the run in this directory if there is one, and leave it alone if it is done."""
SEARCH_PATH = "hydra.searchpath="
"""Begin of the override that names folders of configurations."""
_WHERE_AND_HOW = ("cluster", "ckpt", "hydra", "trusted")
_FROM_COMMAND_LINE = ("command-line", "hydra.searchpath in command-line")
"""Hydra's names for ``--config-dir`` and for the override of its search path."""


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


def recorded_words(run: Path) -> list[str] | None:
    """``complete_words`` of an earlier start of a run; None if it has none on record."""
    record = run / ".hydra" / "hydra.yaml"
    return complete_words(OmegaConf.load(record).hydra) if record.is_file() else None


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


def job_words(words: Iterable[str], folder: Path) -> list[str]:
    """Words of the ``deta train`` that does one run of this command in another process."""
    return [*training_words(words), f"ckpt={AUTO}", f"hydra.run.dir='{folder.resolve()}'"]
