"""``--help``: every key of a command with its value and what its file says of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

_COMMENT = re.compile(r"\s*,?\s*# (?:@unnamed(?:; |$))?(.*)")
_PURPOSE = re.compile(r"# For (defaults lists|deta [a-z ]+): ")
"""So begins a file which is no choice by itself, or of one command alone."""
_FILLED = ("compare",)
"""Groups that other words fill."""
_WIDTH = 44
"""Letters up to the meaning of a key."""


def help_text(hydra: Hydra, name: str, words: Sequence[str], options: str) -> str:
    """The help of a command, for the choices that these words make.

    Args:
        hydra: Knows where configurations lie.
        name: Of the command's configuration.
        words: Overrides.
        options: The lines on options.
    """
    loader = hydra.config_loader
    cfg = hydra.compose_config(name, list(words), RunMode.MULTIRUN)  # which does not ask for groups without a choice
    defaults = loader.compute_defaults_list(name, list(words), RunMode.MULTIRUN).defaults
    roots = [Path(source.path) for source in cfg.hydra.runtime.config_sources if source.schema == "file"]
    comments: dict[str, str] = {}
    choices = _plain(cfg.hydra.runtime.choices)
    head = ""
    for default in defaults:
        path = next((path for root in roots if (path := root / f"{default.config_path}.yaml").is_file()), None)
        if path is not None:
            text = path.read_text(encoding="utf-8")
            comments |= _comments(text, (default.package or "").replace("_global_", ""))
            head = _head(text) if default.config_path == name else head
            choices |= _lists(text)
    choices |= {key: value for key, _, value in (word.partition("=") for word in words) if key in choices}
    groups = [
        f"{_aligned(f'  {group}={_text(choice)}')}{', '.join(sorted(_choices(loader, group, roots, name)))}"
        for group, choice in sorted(choices.items())
        if not group.startswith(("hydra/", *_FILLED))
    ]
    keys = [_line(key, value, comments.get(key, "")) for key, value in values_as_written(cfg)]
    parts = [head, *([] if not groups else ["Choices:", *groups, ""]), *(["Keys:", *keys, ""] if keys else []), options]
    return "\n".join(parts)


def _choices(loader: ConfigLoader, group: str, roots: Sequence[Path], command: str) -> Iterator[str]:
    """Names in a group without those on which others are only built, and those of other commands."""
    own = f"deta {command.replace('_', ' ')}"
    folder = group.partition("@")[0]
    for name in loader.get_group_options(folder, ObjectType.CONFIG):
        path = next((path for root in roots if (path := root / folder / f"{name}.yaml").is_file()), None)
        purpose = None if path is None else _PURPOSE.match(path.read_text(encoding="utf-8"))
        if purpose is None or purpose[1] == own:
            yield name


def _lists(text: str) -> dict[str, str]:
    """Groups of which a file chooses any number, and what it chooses: Hydra does not record them as choices."""
    content = yaml.safe_load(text)
    entries = content.get("defaults", []) if isinstance(content, dict) else []
    return {
        str(group).removeprefix("override ").lstrip("/"): f"[{','.join(names)}]"
        for entry in entries
        if isinstance(entry, dict)
        for group, names in entry.items()
        if isinstance(names, list)
    }


def _plain(node: DictConfig) -> dict[str, Any]:
    """As it is written: values that must still be given are ``???``, references are not followed."""
    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def values_as_written(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values as they are written, the keys of the top first; those of Hydra are left out."""
    own = {key: value for key, value in _plain(cfg).items() if key != "hydra"}
    yield from ((key, value) for key, value in own.items() if not isinstance(value, Mapping) or not value)
    for key, value in own.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if str(name).startswith("_"):
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def _line(key: str, value: object, comment: str) -> str:
    return f"{_aligned(f'  {key}={_text(value)}')}{comment}".rstrip()


def _text(value: object) -> str:
    """A value as an override writes it."""
    is_word = value is None or isinstance(value, bool)
    return {None: "null", True: "true", False: "false"}[value] if is_word else str(value)  # type: ignore[index]


def _aligned(word: str) -> str:
    return f"{word:<{_WIDTH}}  "


def _head(text: str) -> str:
    """The comment at the begin of a file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join([*lines, ""])


def _comments(text: str, package: str) -> dict[str, str]:
    """What stands behind the keys of a file, by dotted key."""
    node = yaml.compose(text)
    lines = text.splitlines()
    return dict(_commented(node, package, lines)) if isinstance(node, yaml.MappingNode) else {}


def _commented(node: yaml.MappingNode, prefix: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}.{key.value}" if prefix else str(key.value)
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        mark = key.end_mark if is_block else value.end_mark
        found = _COMMENT.fullmatch(lines[mark.line][mark.column + is_block :]) if mark.line < len(lines) else None
        if found:
            yield name, found[1]
        if isinstance(value, yaml.MappingNode):
            yield from _commented(value, name, lines)
