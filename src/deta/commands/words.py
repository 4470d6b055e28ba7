"""The words of a command line that make a training what it is."""

import re
from collections.abc import Iterable
from pathlib import Path

AUTO = "auto"
"""Value of ``ckpt``: continue the run in this directory if there is one, and leave it alone if it is done."""
_WHERE_AND_HOW = ("cluster", "ckpt", "hydra", "sweep")


def training_words(words: Iterable[str]) -> list[str]:
    """Overrides without those that say where and how a run was started, for starting it in another way."""
    return [word for word in words if re.split(r"[./@=]", word.lstrip("+~"))[0] not in _WHERE_AND_HOW]


def job_words(words: Iterable[str], folder: Path) -> list[str]:
    """Words of the ``deta train`` that does one run of this command in another process."""
    return [*training_words(words), f"ckpt={AUTO}", f"hydra.run.dir='{folder.resolve()}'"]
