"""Published files of weights, read as checkpoints of ours without a file in between."""

from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException

from deta.commands.composing import compose
from deta.commands.console import describe
from deta.commands.convert import from_published
from deta.training.checkpoint import Checkpoint


def read_published(path: Path, words: Sequence[str]) -> Checkpoint:
    """A published file as a checkpoint of ours.

    Args:
        path: The file.
        words: What it holds, as of ``deta convert``, such as ``system=dino``.

    Raises:
        ValueError: A word does not fit, or the file is of another detector.
    """
    try:
        cfg = compose("convert", [*words, f"source={path}", "target=none"])
        return from_published(cfg, path)
    except HydraException as error:
        raise ValueError(describe(error)) from error
