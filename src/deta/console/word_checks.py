"""Words that are neither an option nor an override, refused with what was probably meant."""

from collections.abc import Collection, Iterable, Sequence

from hydra._internal.hydra import Hydra
from hydra.errors import HydraException

from deta.console.catalogue import COMMANDS
from deta.console.meant import either, meant_keys
from deta.console.options import WITH_VALUE
from deta.console.spelling import stands_alone
from deta.console.vocabulary import Vocabulary
from deta.console.vocabulary_reading import read_vocabulary
from deta.utils.names import nearest

_LIKE_AN_OPTION = 0.8


class WordError(ValueError):
    """A word of the command line that cannot be read."""


def require_words(hydra: Hydra, command: str, words: Sequence[str], options: Collection[str]) -> None:
    """Refuse the first word that is no override, no option and no value of one.

    Args:
        hydra: Knows where configurations lie.
        command: Such as ``data check``.
        words: What follows it.
        options: Those that there are, with their dashes.

    Raises:
        WordError: There is one; the message says how it is written.
    """
    is_value = False
    for place, word in enumerate(words):
        following = next((each for each in words[place + 1 : place + 2] if stands_alone(each)), None)
        name = word.partition("=")[0]
        if not is_value and word.startswith("-") and name not in options:
            raise WordError(_of_option(hydra, command, word, following, options))
        if not is_value and stands_alone(word):
            raise WordError(_of_bare_word(hydra, command, word, following))
        is_value = word in WITH_VALUE


def _of_option(hydra: Hydra, command: str, word: str, following: str | None, options: Collection[str]) -> str:
    name, equals, value = word.partition("=")
    key = name.lstrip("-").replace("-", "_")
    option = nearest(name, options, likeness=_LIKE_AN_OPTION)
    given = value if equals else following
    if option is not None and given is None:
        return f"unknown option {word}: did you mean {option}?"
    shown = word if equals or following is None else f"{word} {following}"
    known = _known(_vocabularies(hydra, command))
    likely = [key] if key in known else meant_keys(key, known)
    if given is not None and (likely or equals):
        spelt = [f"{each}={given}" for each in likely or [name.lstrip("-")]]
        return f"{shown}: values are given without dashes: {either(spelt)}"
    meant = f"; values are given without dashes: {either([f'{each}=<value>' for each in likely])}" if likely else ""
    return f"unrecognized arguments: {word}{meant}; see deta {command} --help"


def _of_bare_word(hydra: Hydra, command: str, word: str, following: str | None) -> str:
    vocabularies = _vocabularies(hydra, command)
    known = _known(vocabularies)
    if following is not None:
        likely = [word] if word in known else meant_keys(word, known)
        if likely:
            spelt = either([f"{each}={following}" for each in likely])
            return f"{word} {following}: a key and its value are joined by '=': did you mean {spelt}?"
    if word in known:
        return f"{word}: an override is key=value: give {word}=<value>"
    choices = {choice: name for each in vocabularies for name, group in each.groups.items() for choice in group.choices}
    exact = [f"{name}={word}" for each in vocabularies for name, group in each.groups.items() if word in group.choices]
    near = nearest(word, choices, likeness=0.75)
    likely = sorted(exact, key=lambda spelt: "@" in spelt)[:1] or ([f"{choices[near]}={near}"] if near else [])
    meant = f"; did you mean {either(likely)}?" if likely else f"; {_of_place(command)}"
    return f"{word}: an override is key=value{meant}"


def _of_place(command: str) -> str:
    """Which words may stand alone."""
    keys = COMMANDS[command].positional
    if not keys:
        return f"see deta {command} --help"
    pattern = "; a pattern of several files stands in quotes" if len(keys) > 1 else ""
    return f"alone stand only {' and '.join(key.upper() for key in keys)}: {COMMANDS[command].usage(command)}{pattern}"


def _vocabularies(hydra: Hydra, command: str) -> list[Vocabulary]:
    """That of the command, and where it passes words on to trainings also theirs."""
    names = [command.replace(" ", "_"), *(["train"] if COMMANDS[command].own else [])]
    return [vocabulary for name in names if (vocabulary := _vocabulary(hydra, name)) is not None]


def _vocabulary(hydra: Hydra, name: str) -> Vocabulary | None:
    try:
        return read_vocabulary(hydra, name, [])
    except HydraException:  # of a configuration of the user's own: without advice then
        return None


def _known(vocabularies: Iterable[Vocabulary]) -> list[str]:
    return [name for each in vocabularies for name in (*each.groups, *each.keys)]
