"""Words of command lines as they were written before, in their present form."""

import re
from collections.abc import Iterable, Mapping

from deta.runs.former import present_key, present_target

_LAYERS = "criterion.rules.layers"
_FIRST = "criterion.rules.first"
ALSO: Mapping[str, str] = {
    f"{_LAYERS}.{name}": f"{_FIRST}.{name}" for name in ("class_terms.class.alpha", "class_terms.class.focusing")
}
"""Keys that one word set for both stages and that are not written out, so that nothing makes one follow the other."""
_SELECTIONS = ("topk", "topk_per_level", "topk_per_level_nms")
CHOICES: Mapping[str, tuple[str, ...]] = {
    **{
        f"criterion={name}": (
            f"assigner@criterion.rules.first.assigner={first}",
            f"assigner@{_LAYERS}.assigner={layers}",
            f"{_LAYERS}.rematch={rematch}",
        )
        for name, first, layers, rematch in (
            ("deta", "iou_proposals", "iou", "once"),
            ("deta_release", "release_proposals", "release", "once"),
            ("hungarian", "hungarian", "hungarian", "per_layer"),
        )
    },
    **{
        f"model={name}": (f"model={name}", f"width@model={width}", f"backbone@model.backbone={backbone}")
        for name, width, backbone in (
            ("deta_r50", "full", "resnet50"),
            ("deta_small", "small", "small"),
            ("deta_squeezenet", "medium", "squeezenet1_0"),
            ("deta_swinl", "full", "swin_l"),
            ("deformable_detr_r50", "full", "resnet50"),
        )
    },
    "proposals@model.proposals=learned": ("queries@model.body.source=learned",),
    **{
        f"proposals@model.proposals={name}": ("queries@model.body.source=encoder", f"selection={name}")
        for name in _SELECTIONS
    },
}
"""Words that choose what is no longer there, or no longer all of it, and those that choose the same."""
SWEPT: Mapping[str, tuple[str, tuple[str, ...]]] = {"proposals@model.proposals": ("selection", _SELECTIONS)}
"""Groups of choices whose values a sweep may list, and the group that now has the same choices."""
GROUPS: Mapping[str, str] = {
    r"criterion/\w+": "override /rule: iou | release | hungarian",
    r"proposals(@[\w.]+|/\w+)": "override /selection: topk | topk_per_level | topk_per_level_nms, or override "
    "/queries@model.body.source: learned",
    r"assigner@criterion\.layer_assigner": f"override /assigner@{_LAYERS}.assigner: <name>",
    r"assigner@criterion\.proposal_assigner": f"override /assigner@{_FIRST}.assigner: <name>",
}
"""Groups of choices, or their places, that a defaults list may still name, and what stands there now."""
_RULE_OF_ROLE = re.compile(r"([+~]{0,2})rule@(\w+)(=.*)?", re.DOTALL)
_IN_SOURCE = "model.body.source."
_TARGET = re.compile(r"(?<![\w.])deta(?:\.\w+)+")
_REFERENCE = re.compile(r"\$\{[^{}]*\}")
_KEY = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)+")


def present_word(word: str) -> str:
    """An override with the present names of its key and of all keys and classes that its value names.

    ``rule@<role>=<name>`` is how people write the choice of the group ``rule/<role>``.
    """
    word = _RULE_OF_ROLE.sub(r"\1rule/\2\3", word)
    key, equals, value = word.partition("=")
    group, names = SWEPT.get(key, ("", ()))
    swept = value.split(",")
    if len(swept) > 1 and all(each in names for each in swept):
        return f"{group}={value}"
    name = key.lstrip("+~")
    sign = key.removesuffix(name)
    value = _REFERENCE.sub(lambda found: _KEY.sub(lambda inner: present_key(inner[0]), found[0]), value)
    place = present_key(name)
    if place.startswith(f"{_IN_SOURCE}selection."):
        place = place.removeprefix(_IN_SOURCE)  # to which the configuration refers
    return f"{sign}{place}{equals}{_TARGET.sub(lambda found: present_target(found[0]), value)}"


def present_words(words: Iterable[str]) -> list[str]:
    """All words of a command line in their present form.

    A word that stands for several comes first: it was a choice, which any other word may change, wherever it stands.
    """
    words = list(words)
    chosen = [present for word in words for present in chosen_words(word)]
    others = [present for word in words if not chosen_words(word) for present in _as_one_or_two(word)]
    return [*(word for word in dict.fromkeys(chosen) if word not in others), *others]


def chosen_words(word: str) -> tuple[str, ...]:
    """Those of ``CHOICES``, however the word is quoted."""
    key, _, value = word.partition("=")
    return CHOICES.get(f"{key.lstrip('+')}={value.strip(chr(39) + chr(34))}", ())


def present_default(message: str) -> str | None:
    """What a defaults list says now in place of the former group that a message of Hydra names in quotes."""
    return next((default for group, default in GROUPS.items() if re.search(f"'{group}'", message)), None)


def _as_one_or_two(word: str) -> tuple[str, ...]:
    present = present_word(word)
    key, equals, value = present.partition("=")
    also = ALSO.get(key.lstrip("+~"))
    if also is None or present == word:
        return (present,)
    return present, f"{key.removesuffix(key.lstrip('+~'))}{also}{equals}{value}"
