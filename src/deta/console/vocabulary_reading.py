"""Reading the vocabulary of a command: a composition, and what stands behind the keys in its files."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.types import RunMode

from deta.console.loader import Loader, as_written, values_as_written
from deta.console.vocabulary import Group, Key, Vocabulary

_COMMENT = re.compile(r"\s*,?\s*# (?:@\w+(?:; |$))?(.*)")
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML was built with its library."""
_PURPOSE = re.compile(r"# For (defaults lists|deta [a-z ]+): ")
"""So begins a file which is no choice by itself, or of one command alone."""
FILLED = ("compare",)
"""Groups that other words fill."""


def read_vocabulary(hydra: Hydra, name: str, words: Sequence[str]) -> Vocabulary:
    """The vocabulary of a command.

    Args:
        hydra: Knows where configurations lie.
        name: Of the command's configuration.
        words: Overrides.

    Raises:
        HydraException: The words do not fit.
    """
    loader = hydra.config_loader
    assert isinstance(loader, Loader)
    cfg = loader.load_configuration(  # for a sweep, which does not ask for groups without a choice
        name, list(words), run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    roots = [Path(source.path) for source in cfg.hydra.runtime.config_sources if source.schema == "file"]
    comments: dict[str, str] = {}
    of_groups: dict[str, str] = {}
    choices = as_written(cfg.hydra.runtime.choices)
    head, own = "", set[str]()
    for default in loader.defaults:
        path = next((path for root in roots if (path := root / f"{default.config_path}.yaml").is_file()), None)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_YamlLoader)
        if not isinstance(node, yaml.MappingNode):
            continue
        lines = text.splitlines()
        comments |= dict(_commented(node, (default.package or "").replace("_global_", ""), lines))
        chosen = dict(_chosen(node, lines))
        of_groups |= {group: comment for group, (_, comment) in chosen.items() if comment}
        choices |= {group: choice for group, (choice, _) in chosen.items() if choice.startswith("[")}
        if default.config_path == name:
            head, own = _head(text), {str(key.value) for key, _ in node.value}
    choices |= {key: value for key, _, value in (word.partition("=") for word in words) if key in choices}
    groups = {
        group: Group(as_text(choice), tuple(sorted(_choices(loader, group, roots, name))), of_groups.get(group, ""))
        for group, choice in sorted(choices.items())
        if not group.startswith("hydra/") and group not in FILLED
    }
    keys = {
        key: Key(as_text(value), comments.get(key, ""), is_own=key.partition(".")[0] in own)
        for key, value in values_as_written(cfg)
    }
    return Vocabulary(head, groups, keys)


def as_text(value: object) -> str:
    """A value as an override writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(loader: ConfigLoader, group: str, roots: Sequence[Path], command: str) -> Iterator[str]:
    """Names in a group without those on which others are only built, and those of other commands."""
    own = f"deta {command.replace('_', ' ')}"
    folder = group.partition("@")[0]
    for name in loader.get_group_options(folder, ObjectType.CONFIG):
        path = next((path for root in roots if (path := root / folder / f"{name}.yaml").is_file()), None)
        purpose = None if path is None else _PURPOSE.match(_first_line(path))
        if purpose is None or purpose[1] == own:
            yield name


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline()


def _chosen(node: yaml.MappingNode, lines: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Groups that a file chooses of: what it chooses, ``[a,b]`` of several, and what stands behind it.

    Hydra does not record as choices of which any number is chosen.
    """
    defaults = next((value for key, value in node.value if key.value == "defaults"), None)
    for entry in defaults.value if isinstance(defaults, yaml.SequenceNode) else ():
        for group, choice in entry.value if isinstance(entry, yaml.MappingNode) else ():
            several = isinstance(choice, yaml.SequenceNode)
            text = f"[{','.join(each.value for each in choice.value)}]" if several else str(choice.value)
            name = str(group.value).removeprefix("override ").lstrip("/")
            yield name, (text, _comment(lines, choice.end_mark.line, choice.end_mark.column))


def _head(text: str) -> str:
    """The comment at the begin of a file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines)


def _comment(lines: Sequence[str], line: int, column: int) -> str:
    """What stands behind a place in a file."""
    found = _COMMENT.fullmatch(lines[line][column:]) if line < len(lines) else None
    return found[1] if found else ""


def _commented(node: yaml.MappingNode, prefix: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}.{key.value}" if prefix else str(key.value)
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        mark = key.end_mark if is_block else value.end_mark
        comment = _comment(lines, mark.line, mark.column + is_block)
        if comment:
            yield name, comment
        if isinstance(value, yaml.MappingNode):
            yield from _commented(value, name, lines)
