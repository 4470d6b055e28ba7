"""Words of a command line that are written otherwise by now."""

import re
import sys
from collections.abc import Sequence

from deta.runs.former import CHOICES, present_words

_RULE_OF_ROLE = re.compile(r"([+~]{0,2})rule@(\w+)(=.*)?", re.DOTALL)


def told_present_words(words: Sequence[str]) -> list[str]:
    """The words with the present names of keys and classes, see ``deta.runs.former``; one line tells of others.

    ``rule@<role>=<name>`` is how people write the choice of the group ``rule/<role>``.

    Raises:
        ValueError: A sweep over former criteria, each of which is several words by now.
    """
    spelt = [_RULE_OF_ROLE.sub(r"\1rule/\2\3", word) for word in words]
    present = {word: present_words([word]) for word in spelt}
    for word, new in present.items():
        if new == [word] and _is_sweep_of_former_choices(word):
            raise ValueError(
                f"{word}: every criterion is several words by now, which no sweep ties together. Sweep "
                "rule=iou,hungarian, and give selection=<name> and postprocess=<name> to keep these alike"
            )
    changed = [f"{word} is {' '.join(new)}" for word, new in present.items() if new != [word]]
    if changed:
        print(f"deta: written otherwise by now: {', '.join(changed)}", file=sys.stderr)
    return [new for word in spelt for new in present[word]]


def _is_sweep_of_former_choices(word: str) -> bool:
    key, _, value = word.partition("=")
    return "," in value and all(f"{key}={each}" in CHOICES for each in value.split(","))
