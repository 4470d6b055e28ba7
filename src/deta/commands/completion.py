"""``deta completion``: the words with which a command line may go on, for bash, zsh and fish.

Nothing here imports PyTorch, and Hydra only where a vocabulary is not in its store.
"""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deta.console.catalogue import COMMANDS, COMPLETION, Command, below
from deta.console.completion_scripts import SCRIPTS
from deta.console.options import OPTIONS, VALUES
from deta.console.quoting import PATH_KEYS
from deta.console.spelling import stands_alone
from deta.console.vocabulary import Group, Key, Vocabulary
from deta.console.vocabulary_store import known_vocabulary
from deta.runs.folders import find_runs
from deta.utils.files import expanded

ANSWER = "answer"
"""``deta completion answer <shell> <line> [<part of the word that the shell replaces>]``: what the scripts call."""
_USAGE = """usage: deta completion bash|zsh|fish

Prints the script by which a shell completes commands, groups, keys, values and run folders:

  bash   eval "$(deta completion bash)"     in ~/.bashrc
  zsh    eval "$(deta completion zsh)"      in ~/.zshrc
  fish   deta completion fish > ~/.config/fish/completions/deta.fish"""
_ALTERNATIVES = re.compile(r"(?:\w+: )?([\w.-]+(?: \| [\w.-]+)+)")
"""So begins the comment of a key that takes one of several words."""
_MOST_KEYS = 40
"""As many keys are shown whole; of more the next part."""
_MOST_RUNS = 100
_RUN_KEYS = ("ckpt", "folder", "weights")
"""Keys whose value is most often a run folder."""
_FOLDERS = ("data.root", "folder", "hydra.run.dir", "hydra.sweep.dir")
_SPECIAL = re.compile(r"([\\\s'\"`$&|;<>()*?\[\]{}!#~])")
"""Letters that a shell obeys."""


@dataclass(frozen=True)
class Candidate:
    """A word with which the line may go on.

    Attributes:
        word: The whole word; one that ends in ``=``, ``.`` or ``/`` goes on itself.
        meaning: In one line.
    """

    word: str
    meaning: str = ""


def complete(arguments: Sequence[str], configurations: Path) -> tuple[int, str]:
    """Do what ``deta completion`` is asked.

    Args:
        arguments: What follows it.
        configurations: The folder of configurations.

    Returns:
        Exit code and what to print.
    """
    if arguments[:1] == [ANSWER] and len(arguments) >= 3:
        shell, line, *replaced = arguments[1:]
        return 0, "\n".join(_answer(shell, line, replaced[0] if replaced else None, configurations))
    if len(arguments) == 1 and arguments[0] in SCRIPTS:
        return 0, SCRIPTS[arguments[0]]
    return (0 if arguments[:1] in (["-h"], ["--help"]) else 2), _USAGE


def _answer(shell: str, line: str, replaced: str | None, configurations: Path) -> Iterator[str]:
    """Lines for a shell; bash replaces only what stands behind the last ``=``, ``:`` or ``@``."""
    words, word = split_line(line)
    kept = len(word) - len(replaced) if replaced is not None and word.endswith(replaced) else 0
    for candidate in candidates(words, word, configurations):
        if shell == "bash":
            yield _SPECIAL.sub(r"\\\1", candidate.word[kept:])
        else:
            yield f"{candidate.word}\t{candidate.meaning}" if candidate.meaning else candidate.word


def split_line(line: str) -> tuple[list[str], str]:
    """The finished words behind the name of the program, and the one that is being typed."""
    for closing in ("", "'", '"'):
        try:
            words = shlex.split(line + closing)
            break
        except ValueError:
            continue
    else:
        words, closing = line.split(), ""
    is_open = bool(closing) or line.endswith("\\ ") or not line[-1:].isspace()
    if not is_open or len(words) < 2:
        return words[1:], ""
    return words[1:-1], words[-1]


def candidates(words: Sequence[str], word: str, configurations: Path) -> list[Candidate]:
    """With which words a command line may go on, in the order of help.

    Args:
        words: Finished words, without the name of the program.
        word: What is typed of the next one.
        configurations: The folder of configurations.
    """
    if words[:1] == ["help"]:
        words = words[1:]
        found = _commands(words)
    elif words[:1] == [COMPLETION]:
        found = [Candidate(shell) for shell in SCRIPTS] if len(words) == 1 else []
    else:
        name = next((" ".join(words[:size]) for size in (2, 1) if " ".join(words[:size]) in COMMANDS), None)
        found = [] if name is not None and len(words) > len(name.split()) else _commands(words)
        if name is not None:
            rest = list(words[len(name.split()) :])
            found = [*found, *_of_command(name, rest, word, configurations)]
    unique = {candidate.word: candidate for candidate in reversed(found) if candidate.word.startswith(word)}
    return [unique[key] for key in dict.fromkeys(each.word for each in found) if key in unique]


def _commands(words: Sequence[str]) -> list[Candidate]:
    """The next word of a command."""
    if not words:
        firsts = dict.fromkeys(name.partition(" ")[0] for name in COMMANDS)
        named = {first: COMMANDS[first].purpose if first in COMMANDS else ", ".join(below(first)) for first in firsts}
        others = {COMPLETION: "completion of words in a shell", "help": "of a command", "--version": ""}
        return [Candidate(first, meaning) for first, meaning in {**named, **others}.items()]
    return [Candidate(name.partition(" ")[2], purpose) for name, purpose in below(" ".join(words)).items()]


def _of_command(name: str, words: list[str], word: str, configurations: Path) -> list[Candidate]:
    command = COMMANDS[name]
    before = {short: long for long, (short, _) in OPTIONS.items()}.get(words[-1], words[-1]) if words else ""
    if before == "--config-dir":
        return _paths("", word, only_folders=True)
    if VALUES.get(before):
        return [Candidate(value) for value in VALUES[before]]
    if word.startswith("-"):
        return [Candidate(option, meaning) for option, (_, meaning) in OPTIONS.items()]
    own = next(
        (Path(words[place + 1]) for place, each in enumerate(words[:-1]) if each in ("--config-dir", "-cd")), None
    )
    overrides = [each for each in words if "=" in each and not each.startswith("-")]
    names = [name.replace(" ", "_"), *(["train"] if command.own else [])]
    found = [known_vocabulary(each, overrides, configurations, own) for each in names]
    vocabularies = [each for each in found if each is not None]
    groups = {key: group for each in reversed(vocabularies) for key, group in each.groups.items()}
    keys = {key: value for each in reversed(vocabularies) for key, value in each.keys.items()}
    vocabulary = Vocabulary("", _with_studies(groups), keys)
    sign = word[:1] if word[:1] in ("+", "~") and not word.startswith("~/") else ""
    sign = "++" if word.startswith("++") else sign
    key, equals, value = word.removeprefix(sign).partition("=")
    if equals:
        return [Candidate(f"{sign}{key}={each.word}", each.meaning) for each in _values(key, value, vocabulary)]
    named = [Candidate(f"{sign}{each.word}", each.meaning) for each in _names(key, vocabulary)]
    return [*_alone(command, words, word, vocabulary), *named]


def _alone(command: Command, words: Sequence[str], word: str, vocabulary: Vocabulary) -> list[Candidate]:
    """Values of the key whose value may stand alone here."""
    given = {each.partition("=")[0] for each in words if "=" in each}
    free = [key for key in command.positional if key not in given]
    place = sum(stands_alone(each) for each in words)
    return list(_values(free[place], word, vocabulary)) if place < len(free) else []


def _names(prefix: str, vocabulary: Vocabulary) -> Iterator[Candidate]:
    """Groups and keys that begin so, each with ``=``; of many keys the next part."""
    for name, group in vocabulary.groups.items():
        if name.startswith(prefix):
            yield Candidate(f"{name}=", _of_group(group))
    keys = {name: key for name, key in vocabulary.keys.items() if name.startswith(prefix)}
    if len(keys) <= _MOST_KEYS:
        yield from (Candidate(f"{name}=", key.comment) for name, key in keys.items())
        return
    for name, key in keys.items():
        head, dot, _ = name[len(prefix) :].partition(".")
        yield Candidate(f"{prefix}{head}{dot}" if dot else f"{name}=", "" if dot else key.comment)


def _values(key: str, value: str, vocabulary: Vocabulary) -> Iterable[Candidate]:
    """Values of a key or group; of several with commas or in brackets the last is completed."""
    if key in PATH_KEYS:
        return _paths(key, value, only_folders=key in _FOLDERS)
    begin = value[: max(value.rfind(","), value.rfind("[")) + 1]
    group, found = vocabulary.groups.get(key), vocabulary.keys.get(key)
    words = group.choices if group is not None else _known_values(found) if found is not None else ()
    return [Candidate(f"{begin}{word}") for word in words]


def _known_values(key: Key) -> tuple[str, ...]:
    """The words that a key takes as far as its value or comment tells."""
    if key.value in ("true", "false"):
        return ("true", "false")
    alternatives = _ALTERNATIVES.match(key.comment)
    if alternatives is not None:
        return tuple(alternatives[1].split(" | "))
    return () if key.value == "???" or "${" in key.value else (key.value,)


def _of_group(group: Group) -> str:
    return ", ".join(group.choices[:6]) + (", ..." if len(group.choices) > 6 else "")


def _with_studies(groups: dict[str, Group]) -> dict[str, Group]:
    """A study is a question at a size."""
    question, size = groups.get("study/question@study"), groups.get("study/size@study")
    if question is None or size is None:
        return groups
    studies = [f"{each}_{last}" for each in question.choices for last in size.choices]
    own = groups["study"]
    sizes = Group("null", size.choices)
    return {**groups, "size": sizes, "study": Group(own.choice, (*own.choices, *studies), own.comment)}


def _paths(key: str, value: str, *, only_folders: bool) -> list[Candidate]:
    """Files and folders that begin so; run folders where nothing is typed yet and a run is meant."""
    if not value and key in _RUN_KEYS and (runs := _runs()):
        return runs
    folder, _, begin = value.rpartition("/")
    place = expanded(f"{folder}/" if value.startswith("/") or folder else ".")
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        Candidate(f"{value[: len(value) - len(begin)]}{entry.name}{'/' if entry.is_dir() else ''}")
        for entry in entries
        if entry.name.startswith(begin)
        and (begin.startswith(".") or not entry.name.startswith("."))
        and (not only_folders or entry.is_dir())
    ]


def _runs() -> list[Candidate]:
    try:
        found = find_runs(Path(os.environ.get("DETA_RUNS", "runs")))
    except OSError:
        return []
    return [Candidate(str(run)) for run in islice(found, _MOST_RUNS)]
