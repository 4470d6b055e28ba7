"""Which rules of assignment the words of a command line put side by side."""

import re
from collections.abc import Callable, Iterable

from deta.utils.names import nearest

LOOK_AT_PREDICTIONS = ("hungarian", "simota", "tal", "one_per_object")
"""Rules whose publication has no candidates before a network predicts: they stand on anchors, with equal scores."""
ON_ANCHORS = "+compare@compare."
"""Begin of the word that puts a rule on anchors."""


def rule_words(words: list[str], choices: Callable[[str], Iterable[str]]) -> list[str]:
    """``assigner=[iou,atss]``, ``assigner=all`` and ``assigner.<rule>.<setting>`` as the configuration has them.

    A rule with candidates of its publication stands on these, any other one on anchors; one name alone stays as it is.

    Args:
        words: Of ``deta data assign``.
        choices: Names in a group of configurations.

    Raises:
        ValueError: There is no such rule, or a word names the group that is filled here.
    """
    for word in words:
        if re.match(r"\W*compare\b", word):
            raise ValueError(f"{word}: several rules are assigner=[iou,atss], and settings assigner.atss.k=<value>")
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    if re.match(r"[^\[\]{}]+,", given.get("assigner", "")):
        raise ValueError(f"assigner={given['assigner']}: several rules are a list: 'assigner=[{given['assigner']}]'")
    found = re.fullmatch(r"\[(.*)\]|(all)", given.get("assigner", "").strip("'\""))
    if found is None:
        return words
    published = [name for name in choices("compare") if name not in ("all", "anchors")]
    known = list(dict.fromkeys([*published, *choices("assigner")]))
    asked = [name.strip() for name in (found[1] if found[2] is None else "all").split(",")]
    for name in asked:
        if name != "all" and name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant}? Rules" if meant else "rules"
            raise ValueError(
                f"assigner={given['assigner']}: no rule {name or 'without a name'}; {hint}: {', '.join(known)}"
            )
    bare = [name for name in asked if name != "all" and name not in published]
    bare += [name for name in LOOK_AT_PREDICTIONS if "all" in asked and name not in bare]
    chosen = [f"compare=[{','.join(name for name in asked if name not in bare)}]"]
    for name in bare:
        chosen += [f"{ON_ANCHORS}{name}=anchors", f"+assigner@compare.{name}.assigner={name}"]
    names = "|".join(map(re.escape, known))
    others = (word for word in words if word.partition("=")[0] != "assigner")
    return [*chosen, *(re.sub(rf"^([+~]*)assigner\.({names})\.", _place, word) for word in others)]


def _place(found: re.Match[str]) -> str:
    """Where the settings of a rule stand; what it stands on is beside it."""
    is_candidates = found.string[found.end() :].startswith("candidates.")
    return f"{found[1]}compare.{found[2]}.{'' if is_candidates else 'assigner.'}"
