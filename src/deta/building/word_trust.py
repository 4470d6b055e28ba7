"""Words that lie in a run directory, which may be of somebody else: data, until the user says otherwise."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from deta.building.reach import far_settings, flat
from deta.building.trust import Trust, may_be_of_the_user, remember, remembered, require_names
from deta.runs.former_words import present_words
from deta.studies.conf import config_dir

ALL_WORDS = "words"
"""Among the values of ``trusted``: every word on record, as it stands."""
_GENERATED = ("hydra.mode=RUN",)
_PLACES = ("run_dir", "dirpath", "folder", "default_root_dir", "save_dir", "cache", "shard_cache", "runs", "store")
"""Last parts of keys that say where a training writes."""
_OF_TRACKER = ("entity", "project", "host", "base_url", "mode", "checkpoints", "tracking_uri", "experiment")
"""Keys of a logger by which something is sent under the name of the reader."""
_LOCAL_MODES = ("offline", "disabled")
_PLAIN_NAME = re.compile(r"\w[\w-]*")


def require_trusted(words: Sequence[str], run: Path, trusted: Any = ()) -> list[str]:  # noqa: ANN401 - what the command line gave
    """The words of a run's record, if a training with them does no more than deta ships, or the user agrees.

    He agrees with what he has once given himself for this directory where it lies, and by ``trusted``.

    Args:
        words: Overrides.
        run: The run directory.
        trusted: Classes and packages that the words may name, or ``[words]`` for all words.

    Raises:
        ValueError: Other words; the message shows them.
    """
    if trusts_all_words(trusted):
        return list(words)
    trust = Trust(run, require_names(trusted))
    known = set(present_words(remembered(run)))
    refused = {word: reason for word in words if word not in known and (reason := _reason(word, trust)) is not None}
    if refused:
        shown = "".join(f"\n  {word}   ({reason})" for word, reason in refused.items())
        raise ValueError(
            f"{run}: you have not given these words of its record yourself in this place, and they reach further than "
            f"what deta ships:{shown}\nLeave the directory alone unless you know who wrote them. After reading them, "
            f"trusted=[{ALL_WORDS}] takes them; or give the words that you want yourself."
        )
    return list(words)


def trusts_all_words(trusted: Any) -> bool:  # noqa: ANN401 - as above
    """Whether the user has given ``trusted=[words]``."""
    return isinstance(trusted, Sequence) and not isinstance(trusted, str) and ALL_WORDS in trusted


def remember_words(run: Path, words: Sequence[str]) -> None:
    """Note those words of this command that need trust, so that the user can continue the run where it lies."""
    remember(run, [word for word in words if _reason(word, Trust(Path())) is not None])


@lru_cache(maxsize=4096)  # the cells of a sweep share most of their words
def _reason(word: str, trust: Trust) -> str | None:
    """Why a word needs trust; None if it does not."""
    if word in _GENERATED:
        return None
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return "no override"
    key = override.key_or_group if override.package is None else f"{override.key_or_group}@{override.package}"
    values = dict(flat(key, override.value()))
    parts = [part for path in values for part in re.split(r"[./@]", path)]
    if override.is_sweep_override():
        return "sweeps"
    if "hydra" in parts or "defaults" in parts or ".." in key:
        return "changes where configurations come from or what Hydra does"
    if "${" in word:
        return "interpolates"
    targets = [value for path, value in values.items() if path.endswith("._target_")]
    inner = [part for path in values for part in re.split(r"[./@]", path)[:-1]]
    if "_target_" in inner or any(
        part.startswith("_") and part not in ("_target_", "_global_", "_here_") for part in parts
    ):
        return "changes how objects are built"
    if not all(isinstance(target, str) and may_be_of_the_user(target) and trust.covers(target) for target in targets):
        return "builds an object"
    if any(re.split(r"[./@]", path)[-1] in _PLACES for path in values):
        return "says where to write"
    far = next(iter(far_settings(override.value(), key).values()), None)
    if far is not None:
        return far
    if parts[0] == "logger" and any(_tells_the_tracker(path, value) for path, value in values.items()):
        return "says where the tracker sends to"
    if any(_changes_writing(path, value) for path, value in values.items()):
        return "changes how a training writes"
    is_added = override.is_add() or override.is_force_add()
    if is_added and not targets and parts[0] in ("callbacks", "logger"):
        return "adds a callback or logger"
    return None if _is_shipped_choice(override.key_or_group, override.value()) else "chooses what deta does not ship"


def _tells_the_tracker(path: str, value: Any) -> bool:  # noqa: ANN401 - a parsed value
    """Whether a value decides where a tracker sends; what keeps it here or is a mere title does not."""
    name = re.split(r"[./@]", path)[-1]
    is_harmless = value in _LOCAL_MODES if name == "mode" else name == "project" and _is_plain_name(value)
    return name in _OF_TRACKER and not is_harmless


def _changes_writing(path: str, value: Any) -> bool:  # noqa: ANN401 - as above
    name = path.rpartition(".")[2]
    return name == "plugins" or (name == "filename" and not _is_plain_name(value))


def _is_plain_name(value: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(value, str) and _PLAIN_NAME.fullmatch(value) is not None


def _is_shipped_choice(group: str, choice: Any) -> bool:  # noqa: ANN401 - a parsed value
    """Whether a group gets one of its files; True for what is no group."""
    folder = config_dir() / group
    if not folder.is_dir():
        return "/" not in group
    choices = choice if isinstance(choice, list) else [choice]
    shipped = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    return all(name is None or (isinstance(name, str) and name in shipped) for name in choices)
