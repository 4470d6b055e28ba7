"""The words of a command line as Hydra reads them: keys for words that stand alone, quotes around paths."""

from collections.abc import Sequence

from deta.console.catalogue import Command
from deta.console.options import WITH_VALUE
from deta.console.quoting import gather_training_words, quote_paths, quoted, sweeps
from deta.console.told_words import told_present_words
from deta.utils.files import is_there


def spelt_out(command: Command, words: Sequence[str]) -> list[str]:
    """The words of a command as options and overrides, of which those for trainings are gathered.

    Raises:
        ValueError: A word cannot be meant.
    """
    words = _with_help(words)
    if "from_file" in command.reads:
        words = _spell_from(words)
    words = told_present_words(name_words(words, command.positional))
    words = quote_paths(words, is_sweep=sweeps(words))
    return gather_training_words(words, command.own) if command.own else words


def name_words(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Let ``runs/x photo.jpg`` mean ``ckpt=runs/x source=photo.jpg``.

    Args:
        words: Options and overrides.
        keys: Keys whose values may stand alone, in this order; of those that are given by name none is expected.

    Returns:
        The words with keys. What stands alone beyond them is left as it is.

    Raises:
        ValueError: The name of such a key stands where its value should.
    """
    given = {word.partition("=")[0] for word in words if "=" in word}
    free = [key for key in keys if key not in given]
    named: list[str] = []
    is_value = False
    for place, word in enumerate(words):
        if is_value or not stands_alone(word, keys) or not free:
            named.append(word)
        else:
            following = words[place + 1] if place + 1 < len(words) else "<value>"
            if word in keys and not is_there(word):
                raise ValueError(f"{word} {following}: a key and its value are joined by '=': {word}={following}")
            named.append(f"{free.pop(0)}={word}")
        is_value = word in WITH_VALUE
    return named


def stands_alone(word: str, keys: Sequence[str] = ()) -> bool:
    """Whether a word is neither an option nor an override; a path that exists may have ``=`` in it."""
    if word.startswith("~/") or word in ("~", "-"):
        return True
    if not word or word.startswith(("-", "+", "~")):
        return False
    key, equals, _ = word.partition("=")
    return not equals or (bool(keys) and key not in keys and is_there(word))


def _with_help(words: Sequence[str]) -> list[str]:
    """``--help WORD`` as one word, and without a word as ``--help=``."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--help=" and "=" not in word and not word.startswith(("-", "+", "~")):
            joined[-1] = f"--help={word}"
        else:
            joined.append("--help=" if word in ("--help", "-h") else word)
    return joined


def _spell_from(words: Sequence[str]) -> list[str]:
    """``--from FILE`` and ``--from=FILE`` as the override ``from_file='FILE'``."""
    spelt, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name != "--from":
            spelt.append(word)
            continue
        value = value if equals else next(rest, "")
        if not value or "=" in value:
            raise ValueError("--from needs a file: deta eval --from predictions.json")
        spelt.append(f"from_file={quoted(value)}")
    return spelt
