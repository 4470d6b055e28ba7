"""Words of a command line that are written otherwise by now."""

import sys
from collections.abc import Sequence

from deta.runs.former_words import CHOICES, chosen_words, present_words


def told_present_words(words: Sequence[str]) -> list[str]:
    """The words in their present form, see ``deta.runs.former_words``; one line tells of others.

    Raises:
        ValueError: A sweep over choices each of which is several words by now; or a former criterion beside a rule.
    """
    for word in words:
        if _is_sweep_of_several(word):
            raise ValueError(
                f"{word}: every choice is several words by now, which no sweep ties together. Sweep "
                "rule=iou,hungarian, and give selection=<name> and postprocess=<name> to keep these alike; or, for "
                "models, system= and size="
            )
    former = next((word for word in words if word.startswith("criterion=") and chosen_words(word)), None)
    rule = next((word for word in words if word.startswith(("rule=", "rule@", "rule/"))), None)
    if former is not None and rule is not None:
        raise ValueError(f"{former} and {rule} both choose rules: give one of them")
    present = {word: present_words([word]) for word in words}
    changed = [
        f"{word} is {' '.join(new)}"
        for word, new in present.items()
        if new != [word] and not word.lstrip("+~").startswith("rule@")  # which is no former word, see ``present_word``
    ]
    if changed:
        print(f"deta: written otherwise by now: {', '.join(changed)}", file=sys.stderr)
    return present_words(words)


def _is_sweep_of_several(word: str) -> bool:
    key, _, value = word.partition("=")
    values = value.split(",")
    return len(values) > 1 and present_words([word]) == [word] and any(f"{key}={each}" in CHOICES for each in values)
