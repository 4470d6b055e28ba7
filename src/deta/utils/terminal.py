"""What people read in a terminal: states and verdicts in colour. A pipe or a file gets the same letters, plain."""

import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")

_WORDS = {
    "bold green": r"\b(done|better)\b",
    "bold red": r"\b(failed|worse)\b",
    "yellow": r"\b(running|queued|resumable)\b",
    "dim": r"\b(missing|within noise|too few seeds)\b|\u2013",
}


def show(text: str) -> None:
    """Print a text with tables, which have their line breaks already."""
    if not sys.stdout.isatty():
        print(text, flush=True)
        return
    from rich.console import Console  # late: a pipe has no use for it
    from rich.text import Text

    styled = Text(text)
    for style, words in _WORDS.items():
        styled.highlight_regex(words, style)
    Console(markup=False, emoji=False, highlight=False).print(styled, soft_wrap=True)
    sys.stdout.flush()


def progress(items: Iterable[Item], *, total: int, what: str) -> Iterable[Item]:
    """The items with a bar on standard error while that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, total=total, description=what, console=Console(stderr=True))
