"""Words of a command line that are written otherwise by now."""

import sys
from collections.abc import Sequence

from deta.runs.former import present_words


def told_present_words(words: Sequence[str]) -> list[str]:
    """The words with the present names of keys and classes, see ``deta.runs.former``; one line tells of others."""
    present = present_words(words)
    changed = [f"{word} is {new}" for word, new in zip(words, present, strict=True) if word != new]
    if changed:
        print(f"deta: written otherwise by now: {', '.join(changed)}", file=sys.stderr)
    return present
