"""Texts that somebody else has written, such as names of classes and files, in places that obey some letters."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins so is computed by spreadsheets."""
_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OBEYED = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control letters, lone surrogates, separators of lines and paragraphs."""


def shown(text: object) -> str:
    r"""The text in one line without letters that a terminal obeys: escape is shown as ``\x1b``, line end as ``\n``."""
    return "".join(_shown(letter) for letter in str(text))


def shown_lines(text: object) -> str:
    """As ``shown``, but line ends and tabs stay: for messages that have some of their own."""
    return "".join(letter if letter in "\n\t" else _shown(letter) for letter in str(text))


def csv_cell(text: str) -> str:
    """The text as a cell of CSV that no spreadsheet computes: with ``'`` before it where it begins like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) and text != "-" and not _is_number(text) else text


def csv_row(values: Iterable[object]) -> list[object]:
    """Cells of a row: texts by ``csv_cell`` and ``shown``, None empty, other values as they are."""
    return [shown(csv_cell(value)) if isinstance(value, str) else "" if value is None else value for value in values]


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Every dotted key by its last part, with the nearest earlier one that tells it from others where two end alike."""
    parts = {key: key.replace("@", ".").split(".") for key in keys}
    return {key: _short(own, [other for name, other in parts.items() if name != key]) for key, own in parts.items()}


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known name that was probably meant; None where none is so much like it, 1 being equal."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)
    return found[0] if found else None


def _shown(letter: str) -> str:
    is_obeyed = letter in _DIRECTIONS or unicodedata.category(letter) in _OBEYED
    return letter.encode("unicode_escape").decode("ascii") if is_obeyed else letter


def _short(own: Sequence[str], others: Iterable[Sequence[str]]) -> str:
    alike = [other for other in others if other[-1] == own[-1]]
    telling = next((part for part in reversed(own[:-1]) if not any(part in other for other in alike)), None)
    if not alike:
        return own[-1]
    return ".".join(own) if telling is None else f"{telling}.{own[-1]}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
