"""What the parts of a configuration were called before.

Stored runs are written in former names, and runs keep the hashes that they had under them. Every row has the former
name first; nothing else in the code knows former names.
"""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

Config = dict[str, Any]

MODULES: Mapping[str, str] = {
    "deta.engine.callbacks": "deta.training.callbacks",
    "deta.engine.evaluation": "deta.evaluation",
    "deta.engine.tracking": "deta.tracking.metrics",
    "deta.engine.wandb_tracker": "deta.tracking.wandb",
}
"""Modules of classes that a configuration names."""
_LAYERS = "criterion.rules.layers"
KEYS: Mapping[str, str] = {
    "criterion.proposal_assigner": "criterion.rules.first.assigner",
    "criterion.layer_assigner": f"{_LAYERS}.assigner",
    "criterion.class_weight": f"{_LAYERS}.class_terms.class.weight",
    "criterion.alpha": f"{_LAYERS}.class_terms.class.alpha",
    "criterion.l1_weight": f"{_LAYERS}.box_terms.l1.weight",
    "criterion.giou_weight": f"{_LAYERS}.box_terms.giou.weight",
    "criterion.rematch": f"{_LAYERS}.rematch",
    "criterion.normalizer": f"{_LAYERS}.normalizer",
    "criterion.ignore_coverage": f"{_LAYERS}.ignore_coverage",
    "criterion.federated": f"{_LAYERS}.federated",
}
"""Dotted keys, with all that stands below them."""
_RULE: Config = {
    "_target_": "deta.losses.Rule",
    "class_terms": {"class": {"_target_": "deta.losses.FocalLoss"}},
    "box_terms": {"l1": {"_target_": "deta.losses.L1Loss"}, "giou": {"_target_": "deta.losses.GIoULoss"}},
}
"""What a rule of DETA has beside what the former keys say."""
_SHARED = ("class_terms", "box_terms", "normalizer", "ignore_coverage", "federated")
"""What the first stage had in common with the layers."""
_ASSIGNERS = ("assigner@criterion.rules.first.assigner", "assigner@criterion.rules.layers.assigner")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "criterion=deta": (f"{_ASSIGNERS[0]}=iou_proposals", f"{_ASSIGNERS[1]}=iou", f"{_LAYERS}.rematch=once"),
    "criterion=deta_release": (
        f"{_ASSIGNERS[0]}=release_proposals",
        f"{_ASSIGNERS[1]}=release",
        f"{_LAYERS}.rematch=once",
    ),
    "criterion=hungarian": (f"{_ASSIGNERS[0]}=hungarian", f"{_ASSIGNERS[1]}=hungarian", f"{_LAYERS}.rematch=per_layer"),
}
"""Words that chose what is no longer there, and the words that choose the same."""
_WORD = re.compile(r"(?P<mark>[+~]{0,2})(?:(?P<group>[\w/]+)@)?(?P<key>[\w./]+)(?P<rest>=.*)?", re.DOTALL)
_MODULES_FIRST = {present: former for former, present in MODULES.items()}
_KEYS_FIRST = {present: former for former, present in KEYS.items()}


def present_key(key: str) -> str:
    """The dotted key that a value has now."""
    return _below(key, KEYS)


def first_key(key: str) -> str:
    """The dotted key that a value had first."""
    return _below(key, _KEYS_FIRST)


def present_words(words: Iterable[str]) -> list[str]:
    """The words of a command line in present names."""
    return [present for word in words for present in CHOICES.get(word) or (_present_word(word),)]


def present_config(config: Mapping[str, Any]) -> Config:
    """A stored configuration, whole or in part, in present names; one that is written in them comes back equal."""
    renamed: Config = _with_targets(config, MODULES)
    if "layer_assigner" in (renamed.get("criterion") or {}):
        criterion = renamed["criterion"]
        layers = {**deepcopy(_RULE), "sees": "classes"}
        renamed["criterion"] = {**criterion, "rules": {"first": {}, "layers": layers}}
        _move(renamed, KEYS)
        rules = renamed["criterion"]["rules"]
        has_first = rules["first"].get("assigner") is not None
        shared = {name: deepcopy(layers[name]) for name in _SHARED if name in layers}
        rules["first"] = (
            {"_target_": _RULE["_target_"], **shared, "sees": "objects", **rules["first"]} if has_first else None
        )
    return renamed


def first_config(config: Mapping[str, Any]) -> Config:
    """A configuration in the names that its parts had first, by which runs have their hashes."""
    renamed: Config = _with_targets(config, _MODULES_FIRST)
    rules = (renamed.get("criterion") or {}).get("rules")
    if isinstance(rules, dict) and isinstance(rules.get("layers"), dict):
        first, layers = rules.get("first"), rules["layers"]
        if isinstance(first, dict):
            shared = [name for name in _SHARED if name in first and first[name] == layers.get(name)]
            rules["first"] = _without(
                first, {"_target_": _RULE["_target_"], "sees": "objects", **{name: first[name] for name in shared}}
            )
        else:
            rules["first"] = {"assigner": None}
        _move(renamed, _KEYS_FIRST)
        rules["layers"] = _without(layers, {**_RULE, "sees": "classes"})
        left = {role: rule for role, rule in rules.items() if rule}
        renamed["criterion"] = {key: value for key, value in renamed["criterion"].items() if key != "rules"}
        if left:
            renamed["criterion"]["rules"] = left
    return renamed


def _present_word(word: str) -> str:
    parts = _WORD.fullmatch(word)
    if parts is None:
        return word
    group = "" if parts["group"] is None else f"{parts['group']}@"
    return f"{parts['mark']}{group}{present_key(parts['key'])}{parts['rest'] or ''}"


def _move(config: Config, keys: Mapping[str, str]) -> None:
    """Move values inside a configuration, which may lack any of them."""
    for source, target in keys.items():
        *above, last = source.split(".")
        node = _node(config, above)
        if isinstance(node, dict) and last in node:
            *into, name = target.split(".")
            place = config
            for each in into:
                place = place.setdefault(each, {})
            place[name] = node.pop(last)


def _node(config: Any, path: list[str]) -> Any:  # noqa: ANN401 - plain containers
    for name in path:
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _without(node: Config, known: Mapping[str, Any]) -> Config:
    """The part of a nested dictionary that is not in another one."""
    left: Config = {}
    for name, value in node.items():
        if name in known and isinstance(value, dict) and isinstance(known[name], dict):
            rest = _without(value, known[name])
            if rest:
                left[name] = rest
        elif name not in known or value != known[name]:
            left[name] = value
    return left


def _with_targets(node: Any, modules: Mapping[str, str]) -> Any:  # noqa: ANN401 - plain containers
    """A copy in which every ``_target_`` names its module as ``modules`` says."""
    if isinstance(node, Mapping):
        return {
            name: _renamed(value, modules)
            if name == "_target_" and isinstance(value, str)
            else _with_targets(value, modules)
            for name, value in node.items()
        }
    return [_with_targets(value, modules) for value in node] if isinstance(node, list) else node


def _renamed(target: str, modules: Mapping[str, str]) -> str:
    module, _, name = target.rpartition(".")
    return f"{modules[module]}.{name}" if module in modules else target


def _below(key: str, keys: Mapping[str, str]) -> str:
    known = next((name for name in keys if key == name or key.startswith(f"{name}.")), None)
    return key if known is None else keys[known] + key.removeprefix(known)
