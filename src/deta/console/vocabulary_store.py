"""Vocabularies that were read before, so that a completion is answered without Hydra."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from deta import __version__
from deta.console.vocabulary import Vocabulary
from deta.utils.files import read_json, write_text

_MOST = 64
"""Vocabularies that are kept: 30 kB each."""


def known_vocabulary(name: str, words: Sequence[str], configurations: Path, own: Path | None) -> Vocabulary | None:
    """``read_vocabulary`` of a command without advice on its words: what does not fit is left out.

    Args:
        name: Of the command's configuration.
        words: Overrides.
        configurations: The folder of configurations.
        own: Another one, of the user.

    Returns:
        None where the user's own configurations cannot be composed.
    """
    chosen = [word for word in words if "." not in word.partition("=")[0] or "@" in word]  # of groups, most likely
    folders = [configurations, *([own] if own is not None else [])]
    path = _folder() / f"{_digest(name, chosen, folders)}.json"
    with suppress(OSError, ValueError):  # not there yet, or damaged
        return read_json(path, Vocabulary)
    vocabulary = _read(name, chosen, configurations, own)
    if vocabulary is not None:
        with suppress(OSError):  # a home that cannot be written: the next completion reads again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(asdict(vocabulary)))
            _forget_oldest(path.parent)
    return vocabulary


def _read(name: str, words: Sequence[str], configurations: Path, own: Path | None) -> Vocabulary | None:
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from deta.console.application import VERSION_BASE, make_hydra
    from deta.console.naming import register_resolvers
    from deta.console.vocabulary_reading import read_vocabulary

    register_resolvers()
    version.setbase(VERSION_BASE)
    try:
        hydra = make_hydra(configurations, None if own is None else str(own))
        for attempt in dict.fromkeys((tuple(words), ())):
            with suppress(HydraException, OmegaConfBaseException, YAMLError, OSError):
                return read_vocabulary(hydra, name, attempt)
    finally:
        GlobalHydra.instance().clear()
    return None


def _folder() -> Path:
    home = os.environ.get("HOME", ".")  # as conf/paths/default.yaml has it
    return Path(os.environ.get("DETA_CACHE") or f"{home}/.cache/deta") / "completion"


def _digest(name: str, words: Sequence[str], folders: Iterable[Path]) -> str:
    """Changes with the words, the version and every change of a configuration file."""
    files = [f"{path}:{changed}" for folder in folders for path, changed in _files(folder)]
    return hashlib.sha256("\n".join([__version__, name, *words, "", *files]).encode()).hexdigest()[:32]


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    with suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            if entry.is_dir():
                yield from _files(Path(entry.path))
            elif entry.name.endswith(".yaml"):
                yield entry.path, entry.stat().st_mtime_ns


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in files[_MOST:]:
        path.unlink(missing_ok=True)
