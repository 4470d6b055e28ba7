"""Paths among the words of a command line, quoted so that Hydra takes every letter of them as it is."""

import re
import shlex
from collections.abc import Iterable, Sequence

from deta.utils.files import expanded
from deta.utils.names import nearest

PATH_KEYS = frozenset(
    {
        "annotations",
        "checksums",
        "ckpt",
        "data.cache",
        "data.root",
        "data.shard_cache",
        "data.shards",
        "data.train_annotations",
        "data.train_images",
        "data.val_annotations",
        "data.val_images",
        "folder",
        "from_file",
        "group_pattern",
        "hydra.run.dir",
        "hydra.sweep.dir",
        "hydra.sweep.subdir",
        "images",
        "logger.file.folder",
        "model.backbone.weights",
        "out",
        "paths.cache",
        "paths.data",
        "paths.runs",
        "paths.weights",
        "run_dir",
        "source",
        "target",
        "weights",
    }
)
"""Keys whose value is a file, a folder, an address or a pattern."""
SWEEP_WORDS = ("-m", "--multirun", "hydra.mode=MULTIRUN")
"""Words of a command line that sweeps, beside those of a named sweep."""
_NO_PATHS = ("", "null", "true", "false")
"""Values of these keys that are none, nothing or a choice."""
_BEFORE_QUOTE = re.compile(r"(\\*)('|$)")


def quoted(text: str) -> str:
    r"""The text as a value of an override, whatever letters it has; only ``${...}`` in it is still resolved."""
    return "'" + _BEFORE_QUOTE.sub(lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def unquoted(value: str) -> str:
    """The text that ``quoted`` has quoted; a value without quotes as it is."""
    if not _is_quoted(value):
        return value
    escaped = re.compile(rf"(\\+)({value[0]}|$)")
    return escaped.sub(lambda found: found[1][: len(found[1]) // 2] + found[2], value[1:-1])


def quote_paths(words: Iterable[str], *, is_sweep: bool) -> list[str]:
    """Quote the values of ``PATH_KEYS`` that are not quoted yet; ``~`` at their begin is the home folder.

    Args:
        words: Overrides as given.
        is_sweep: Commas part values then, and brackets and parentheses may belong to lists and functions of Hydra: a
            value with quotes or brackets stays as it is.
    """
    return [_with_quotes(word, is_sweep=is_sweep) for word in words]


def shell_line(words: Iterable[str]) -> str:
    """The words as a shell reads them; paths without the quotes that ``quote_paths`` would give them again."""
    words = list(words)
    bare = [_without_quotes(word) for word in words]
    again = quote_paths(bare, is_sweep=sweeps(words))
    return shlex.join(short if quoted == word else word for word, short, quoted in zip(words, bare, again, strict=True))


def sweeps(words: Iterable[str]) -> bool:
    """Whether a command line sweeps, by an option or by a named sweep."""
    return any(word in SWEEP_WORDS or word.startswith("sweep=") for word in words)


def gather_training_words(words: Iterable[str], own: Sequence[str]) -> list[str]:
    """Put the overrides that are for trainings into the key ``words`` of a command that starts them.

    Args:
        words: Options and overrides.
        own: First parts of the keys of the command itself; what is spelt like one of them is left to it, too.
    """
    kept: list[str] = []
    passed: list[str] = []
    for word in words:
        first = re.split(r"[.@/=]", word.lstrip("+~"), maxsplit=1)[0]
        is_own = "=" not in word or word.startswith("-") or nearest(first, own, likeness=0.8) is not None
        (kept if is_own else passed).append(word)
    escaped = [quoted(word).replace("${", "\\${") for word in passed]  # a reference is for the training to follow
    return [*kept, f"words=[{','.join(escaped)}]"] if escaped else kept


def _with_quotes(word: str, *, is_sweep: bool) -> str:
    key, equals, value = word.partition("=")
    is_path = key.lstrip("+") in PATH_KEYS and value not in _NO_PATHS
    if not equals or not is_path or _is_quoted(value):
        return word
    if not is_sweep:
        return f"{key}={quoted(_expanded(value))}"
    if any(letter in value for letter in "'\"[]{}()"):
        return word
    parts = [part if part in _NO_PATHS else quoted(_expanded(part)) for part in value.split(",")]
    return f"{key}={','.join(parts)}"


def _without_quotes(word: str) -> str:
    key, equals, value = word.partition("=")
    return f"{key}={unquoted(value)}" if equals and key.lstrip("+") in PATH_KEYS else word


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _expanded(path: str) -> str:
    return str(expanded(path)) if path == "~" or path.startswith("~/") else path
