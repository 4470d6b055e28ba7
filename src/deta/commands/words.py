"""The words of a command line that make a training what it is."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

AUTO = "auto"
"""Value of ``ckpt``: continue the run in this directory if there is one, and leave it alone if it is done."""
_WHERE_AND_HOW = ("cluster", "ckpt", "hydra", "sweep")


def given_words(overrides: Any) -> list[str]:  # noqa: ANN401 - Hydra types its lists of words in several ways
    """The overrides as they were given: a ``${...}`` in them is for the run to resolve."""
    words = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def recorded_words(run: Path) -> list[str] | None:
    """The overrides of an earlier start of a run; None if it has none on record."""
    record = run / ".hydra" / "overrides.yaml"
    return given_words(OmegaConf.load(record)) if record.is_file() else None


def training_words(words: Iterable[str]) -> list[str]:
    """Overrides without those that say where and how a run was started, for starting it in another way."""
    return [word for word in words if re.split(r"[./@=]", word.lstrip("+~"))[0] not in _WHERE_AND_HOW]


def job_words(words: Iterable[str], folder: Path) -> list[str]:
    """Words of the ``deta train`` that does one run of this command in another process."""
    return [*training_words(words), f"ckpt={AUTO}", f"hydra.run.dir='{folder.resolve()}'"]
