"""``--help``: the main keys of a command, those with a word in them, or all of them, with what their files say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from deta.console.catalogue import COMMANDS, Command
from deta.console.options import OPTIONS, VALUES
from deta.console.vocabulary import Group, Key, Vocabulary
from deta.utils.wording import counted

ALL = "all"
"""``--help all``: every key."""
MAIN = ""
"""``--help`` alone."""
_WIDTH = 44
"""Letters up to the meaning of a key."""
_NARROW = 30
"""The same in the short help."""
_MOST_CHOICES = 8
"""Choices that the short help lists of a group."""


def help_text(command: str, vocabulary: Vocabulary, topic: str = MAIN) -> str:
    """The help of a command.

    Args:
        command: Such as ``data check``.
        vocabulary: What can be said to it.
        topic: ``MAIN``, ``ALL`` or a part of the name of a key, group or section.

    Raises:
        ValueError: No key, group or choice has the topic in it.
    """
    declared = COMMANDS.get(command, Command(""))
    options = f"usage: {declared.usage(command)}\n\nOptions:\n{_options()}"
    if topic == ALL:
        return _join(vocabulary.head, *_everything(vocabulary.groups, vocabulary.keys), options)
    if topic == MAIN:
        sections = declared.main or {"Keys": tuple(_own(vocabulary))}
        parts = [_section(title, names, vocabulary) for title, names in sections.items()]
        return _join(vocabulary.head, *parts, _more(command, vocabulary, sections), options)
    groups = {name: group for name, group in vocabulary.groups.items() if topic in name or topic in group.choices}
    keys = {name: key for name, key in vocabulary.keys.items() if topic in name}
    if not groups and not keys:
        raise ValueError(
            f"--help {topic}: deta {command} has no key, group or choice of that name; --help all lists all"
        )
    return _join(*_everything(groups, keys))


def _options() -> str:
    lines = []
    for name, (short, meaning) in OPTIONS.items():
        value = {"--help": " [WORD]"}.get(name, f" {'|'.join(VALUES[name]) or 'NAME'}" if name in VALUES else "")
        form = f"  {', '.join(filter(None, (name, short)))}{value}"
        lines.append(f"{form:<{_NARROW}}  {meaning}")
    return "\n".join(lines)


def _everything(groups: Mapping[str, Group], keys: Mapping[str, Key]) -> Iterator[str]:
    if groups:
        lines = [f"{_aligned(name, group.choice, _WIDTH)}{', '.join(group.choices)}" for name, group in groups.items()]
        yield "\n".join(["Choices:", *lines])
    if keys:
        yield "\n".join(["Keys:", *(_line(name, key, _WIDTH) for name, key in keys.items())])


def _own(vocabulary: Vocabulary) -> list[str]:
    """Groups at the top, and keys of the command's own file."""
    groups = [name for name in vocabulary.groups if "@" not in name and "/" not in name and name != "paths"]
    return [*(name for name, key in vocabulary.keys.items() if key.is_own), *groups]


def _section(title: str, names: Iterable[str], vocabulary: Vocabulary) -> str:
    lines = []
    for name in names:
        group = vocabulary.groups.get(name)
        key = vocabulary.keys.get(name)
        if group is not None:
            lines.append(f"{_aligned(name, group.choice, _NARROW)}{_shortened(group)}".rstrip())
        elif key is not None:
            lines.append(_line(name, key, _NARROW))
        elif name.startswith("hydra."):
            lines.append(f"{_aligned(name, '<folder>', _NARROW)}where its files go")
    return "\n".join([f"{title}:", *lines]) if lines else ""


def _more(command: str, vocabulary: Vocabulary, sections: Mapping[str, Sequence[str]]) -> str:
    """How many keys are not shown, by what they begin with."""
    shown = {name for names in sections.values() for name in names}
    others = [name for name in vocabulary.keys if name not in shown]
    if not others:
        return ""
    firsts = dict.fromkeys(name.partition(".")[0] for name in others if "." in name)
    below = f", below {', '.join(firsts)}" if firsts else ""
    return (
        f"{counted(len(others), 'further key')}{below}:\n"
        f"  deta {command} --help all   every key and choice; --help <word>: those with the word in them"
    )


def _shortened(group: Group) -> str:
    listed = list(group.choices)
    more = f", ... ({len(listed)})" if len(listed) > _MOST_CHOICES + 1 else ""
    return ", ".join(listed[:_MOST_CHOICES] if more else listed) + more


def _line(name: str, key: Key, width: int) -> str:
    return f"{_aligned(name, key.value, width)}{key.comment}".rstrip()


def _aligned(name: str, value: str, width: int) -> str:
    return f"{f'  {name}={value}':<{width}}  "


def _join(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
