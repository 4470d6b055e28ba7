"""Which part of a configuration decides a result, and where two configurations differ in it."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from deta.runs.former import first_target

BY_REFERENCE = ("selection",)
"""Parts that act only where others refer to them, and are part of a result there."""
WITHOUT_EFFECT = (
    *BY_REFERENCE,
    "hydra",
    "sweep",
    "cluster",
    "paths",
    "logger",
    "name",
    "ckpt",
    "dry_run",
    "trusted",
    "run_dir",
    "evaluations",
    "callbacks.best",
    "callbacks.resume",
    "callbacks.instability",
    "callbacks.pictures",
    "callbacks.classes",
    "callbacks.progress",
    "callbacks.learning_rate",
    "callbacks.non_finite",
    "callbacks.data_wait",
    "data.root",
    "data.cache",
    "data.num_workers",
    "data.source",
    "data.shards",
    "data.shard_cache",
    "data.shard_cache_gb",
    "data.check_files",
    "data.follow_links",
    "data.read_timeout",
    "evaluator.engine",
    "trainer.accelerator",
    "trainer.benchmark",
    "trainer.default_root_dir",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.num_sanity_val_steps",
    "trainer.seconds_of_patience",
)
"""Keys that decide where and how a run is done, not what comes out."""
MISSING = "???"
"""A value that must still be given."""


class _Absent(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT
"""Stands for the value of a key that a configuration does not have."""


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that decides the result.

    Folders of its ``paths`` are named, not spelt out: another machine gives the same.
    """
    folders = {str(folder): f"${{paths.{name}}}" for name, folder in config.get("paths", {}).items()}
    content: dict[str, Any] = _pruned(config, "", folders)
    return content


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - containers of any depth
    """Dotted keys and values of nested dictionaries; lists and empty dictionaries are values."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def is_below(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of these, or stands inside one."""
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which two configurations differ, with both values; ``ABSENT`` where one has no such key."""
    before, after = dict(leaves(first)), dict(leaves(second))
    keys = (*after, *(key for key in before if key not in after))
    pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if ABSENT in pair or pair[0] != pair[1]}


def _pruned(node: Any, key: str, folders: Mapping[str, str]) -> Any:  # noqa: ANN401 - containers of any depth
    if isinstance(node, Mapping):
        paths = {str(name): f"{key}.{name}" if key else str(name) for name in node}
        return {name: _pruned(node[name], path, folders) for name, path in paths.items() if path not in WITHOUT_EFFECT}
    if isinstance(node, list):
        return [_pruned(item, key, folders) for item in node]
    if isinstance(node, str) and key.endswith("._target_"):
        return first_target(node)
    if isinstance(node, str):
        for folder, name in folders.items():
            if node.startswith(f"{folder}/"):
                return name + node.removeprefix(folder)
    return node
