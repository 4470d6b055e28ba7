"""Names that parts, keys and weights had before: stored files and command lines still use them.

One table says what has moved. A configuration, a word of a command line, or a weight under a former name becomes one
under its present name as it is read; a run keeps its hash, which is made of the names that its settings had first.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

MODULES: Mapping[str, str] = {
    "deta.engine.callbacks": "deta.training.callbacks",
    "deta.engine.evaluation": "deta.evaluation",
    "deta.engine.tracking": "deta.tracking.metrics",
    "deta.engine.wandb_tracker": "deta.tracking.wandb",
    "deta.models.backbone": "deta.models.backbones.torchvision",
    "deta.models.convnet": "deta.models.backbones.convnet",
    "deta.models.decoder": "deta.models.query.decoder",
    "deta.models.encoder": "deta.models.query.encoder",
    "deta.models.neck": "deta.models.necks.levels",
    "deta.models.proposals": "deta.models.query.sources",
    "deta.models.selection": "deta.models.query.selection",
    "deta.models.swin": "deta.models.backbones.swin",
    "deta.models.timm_backbone": "deta.models.backbones.timm",
}
"""Modules of classes, by the name they had first."""
CLASSES: Mapping[str, str] = {
    "deta.models.query.selection.TopK": "deta.models.query.selection.TopKPositions",
    "deta.models.query.sources.EncoderProposals": "deta.models.query.proposals.EncoderProposals",
}
"""Classes whose own name has changed, or that left their present module, by the name they had first."""
ARGUMENTS: Mapping[str, str] = {"deta.assign.HungarianAssigner.gamma": "focusing"}
"""Arguments of a class, by its present name and the name that they had first; those of any other class stay."""
BETWEEN: Mapping[str, str] = {"deta.losses.QueryCriterion": "deta.losses.Criterion"}
"""Names that classes had for a while, which are neither their first nor their present ones."""
_LAYERS = "criterion.rules.layers"
KEYS: Mapping[str, str] = {
    "model.hidden_dim": "model.body.hidden_dim",
    "model.encoder": "model.body.encoder",
    "model.proposals": "model.body.source",
    "model.decoder": "model.body.decoder",
    "model.groups": "model.body.groups",
    "model.pixel_mean": "model.input.mean",
    "model.pixel_std": "model.input.std",
    "optimizer.lr_factors.proposals": "optimizer.lr_factors.source",
    "criterion.proposal_assigner": "criterion.rules.first.assigner",
    "criterion.layer_assigner": f"{_LAYERS}.assigner",
    "criterion.class_weight": f"{_LAYERS}.class_terms.class.weight",
    "criterion.alpha": f"{_LAYERS}.class_terms.class.alpha",
    "criterion.gamma": f"{_LAYERS}.class_terms.class.focusing",
    "criterion.l1_weight": f"{_LAYERS}.box_terms.l1.weight",
    "criterion.giou_weight": f"{_LAYERS}.box_terms.giou.weight",
    "criterion.rematch": f"{_LAYERS}.rematch",
    "criterion.normalizer": f"{_LAYERS}.normalizer",
    "criterion.ignore_coverage": f"{_LAYERS}.ignore_coverage",
    "criterion.federated": f"{_LAYERS}.federated",
}
"""Keys of a configuration, with all below them, by the name they had first."""
OWNERS: Mapping[str, str] = {"model": "deta.models.Detector", "criterion": "deta.losses.Criterion"}
"""Parts of which only this class has had such keys: those of any other class stay as they are."""
ADDED: Mapping[str, object] = {
    "model.body._target_": "deta.models.QueryBody",
    "model.body._partial_": True,
    "model.input._target_": "deta.models.InputConvention",
    f"{_LAYERS}._target_": "deta.losses.Rule",
    f"{_LAYERS}.sees": "classes",
    f"{_LAYERS}.class_terms.class._target_": "deta.losses.FocalLoss",
    f"{_LAYERS}.box_terms.l1._target_": "deta.losses.L1Loss",
    f"{_LAYERS}.box_terms.giou._target_": "deta.losses.GIoULoss",
}
"""Keys that a part has got where others of it moved, and the value that stands for what it was before."""
NEW: Mapping[str, object] = {
    "model.backbone.dilated": False,
    "model.neck.norm": "group",
    "model.body.encoder.temperature": 10_000,
    "model.body.encoder.is_centred": True,
    "model.body.source.reference_layers": 1,
    "model.body.source.content": "learned",
    "model.body.source.score": "first_channel",
    "model.body.source.supervise": "all",
    "model.body.source.position": "boxes",
    "model.body.source.start_small": False,
    "model.body.source.labels": None,
    "model.body.decoder.position": "queries",
    "model.body.decoder.scale_position": False,
    "model.body.decoder.output_norm": False,
    "model.body.decoder.logit_eps": 1e-5,
    "model.body.heads": None,
    "model.body.head": {
        "_target_": "deta.models.PredictionHead",
        "_partial_": True,
        "scores": "sigmoid",
        "prior": 0.01,
        "starts_at_reference": True,
    },
    "model.body.start_small": None,
    f"{_LAYERS}.on": None,
    f"{_LAYERS}.box_terms.giou.eps": 0.0,
    "criterion.rules.first.box_terms.giou.eps": 0.0,
    f"{_LAYERS}.assigner.eps": 0.0,
    f"{_LAYERS}.assigner.scores": "sigmoid",
    "criterion.rules.first.assigner.eps": 0.0,
    "criterion.rules.first.assigner.scores": "sigmoid",
}
"""Options that have come since, and the value with which all is as it was without them."""
SHARED = ("class_terms", "box_terms", "normalizer", "ignore_coverage", "federated")
"""What the rule of the first stage had in common with that of the layers, now a setting of each."""
WEIGHTS: Mapping[str, str] = {
    "encoder.": "body.encoder.",
    "proposals.": "body.source.",
    "decoder.": "body.decoder.",
    "groups.": "body.groups.",
    "heads.": "body.heads.",
}
"""Begins of names of a detector's weights, by the begin they had first."""

_PRESENT_MODULES = {present: former for former, present in MODULES.items()}
_PRESENT_CLASSES = {present: former for former, present in CLASSES.items()}
_PRESENT_ARGUMENTS = {
    f"{former.rpartition('.')[0]}.{present}": former.rpartition(".")[2] for former, present in ARGUMENTS.items()
}
_PRESENT_KEYS = {present: former for former, present in KEYS.items()}
_ABSENT = object()


def present_target(target: str) -> str:
    """The dotted name that a class has now."""
    target = _in_module(target, MODULES)
    return {**CLASSES, **BETWEEN}.get(target, target)


def first_target(target: str) -> str:
    """The dotted name that a class had first."""
    return _in_module(_PRESENT_CLASSES.get(target, target), _PRESENT_MODULES)


def former_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys and classes of a configuration, resolved or not, that have other names now, with these."""
    keys = {key: name for key, name in KEYS.items() if _is_owned(config, key) and _found(config, key) is not _ABSENT}
    targets = {target: present_target(target) for target in _targets(config)}
    arguments = {key: _beside(key, name) for key, name in _former_arguments(config)}
    return keys | {target: name for target, name in targets.items() if name != target} | arguments


def present_key(key: str) -> str:
    """The name that a key has now, or a group of choices at a place: ``proposals@model.proposals``."""
    return _key(key, KEYS)


def present_argument(config: Mapping[str, Any], key: str) -> str:
    """The name that a key has now in the part of a configuration that it stands in, by the class of that part."""
    place, _, name = key.rpartition(".")
    part = _found(config, place)
    argument = ARGUMENTS.get(f"{part.get('_target_')}.{name}") if isinstance(part, Mapping) else None
    return key if argument is None else _beside(key, argument)


def first_key(key: str) -> str:
    """The name that a key, or a group of choices at a place, had first."""
    return _key(key, _PRESENT_KEYS)


def present_keys(key: str) -> tuple[str, ...]:
    """All keys that a former one set: those of both stages where they had it in common."""
    present = present_key(key)
    below = present.removeprefix(f"{_LAYERS}.")
    is_shared = present != key and below.partition(".")[0] in SHARED
    return (present, f"criterion.rules.first.{below}") if is_shared else (present,)


def with_present_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, resolved, with the present names of keys, classes and their arguments.

    Raises:
        ValueError: It has a setting under both of its names.
    """
    content: dict[str, Any] = _with_arguments(_with_present_targets(config), ARGUMENTS)
    return with_present_keys(content)


def with_present_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, resolved, with the present names of its keys.

    Raises:
        ValueError: It has a setting under both of its names.
    """
    content: dict[str, Any] = _copied(config)
    parts = set()
    for former, present in KEYS.items():
        if _is_owned(content, former) and (value := _taken(content, former)) is not _ABSENT:
            if _found(config, present) is not _ABSENT:
                raise ValueError(f"{former} and {present} are one setting, which has its former and its present name")
            _put(content, present, value)
            parts.add(former.partition(".")[0])
    for key, value in ADDED.items():
        if key.partition(".")[0] in parts:
            _put(content, key, value, is_default=True)
    if "criterion" in parts:
        rules = content["criterion"]["rules"]
        if _found(config, "criterion.rules") is _ABSENT:
            has_first = _found(rules, "first.assigner") not in (None, _ABSENT)
            rules["first"] = _first_rule(rules) if has_first else None
    return content


def with_first_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration as it would have been written first; one that could not have been stays as it is."""
    content: dict[str, Any] = _with_arguments(config, _PRESENT_ARGUMENTS)
    for key, value in NEW.items():
        if _found(content, key) == value:
            _taken(content, key)
    for part in OWNERS:
        added = {key: value for key, value in ADDED.items() if key.startswith(f"{part}.")}
        if any(_found(content, key) not in (_ABSENT, value) for key, value in added.items()):
            return content
    rules = _found(content, "criterion.rules")
    if isinstance(rules, dict):
        first, layers = rules.get("first"), rules.get("layers")
        if not isinstance(layers, dict) or not isinstance(first, dict | None):
            return content
        if first is not None and first != _first_rule({**rules, "first": {"assigner": first.get("assigner")}}):
            return content
        rules["first"] = {"assigner": None if first is None else first["assigner"]}
    for key in ADDED:
        _taken(content, key)
    for former, present in KEYS.items():
        if _is_owned(content, former) and (value := _taken(content, present)) is not _ABSENT:
            _put(content, former, value)
    return content


def with_present_weights(weights: Mapping[str, Value], prefix: str = "") -> dict[str, Value]:
    """Weights of a detector, or whatever is kept of each, by their present names.

    Args:
        weights: By name.
        prefix: Begin of every name of the detector's; others stay as they are.
    """
    return {present_weight(name, prefix): value for name, value in weights.items()}


def present_weight(name: str, prefix: str = "") -> str:
    """The name that a weight of a detector has now, see ``with_present_weights``."""
    own = name.removeprefix(prefix)
    former = next((former for former in WEIGHTS if own.startswith(former)), None)
    if former is None or not name.startswith(prefix):
        return name
    return f"{prefix}{WEIGHTS[former]}{own.removeprefix(former)}"


def is_owned(config: Mapping[str, Any], part: str) -> bool:
    """Whether a part of a configuration is of the class whose keys and weights have moved."""
    return _is_owned(config, f"{part}.")


def _first_rule(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The rule of the first stage as it followed from that of the layers and its own assigner."""
    shared = {name: _copied(rules["layers"][name]) for name in SHARED if name in rules["layers"]}
    return {"_target_": "deta.losses.Rule", "sees": "objects", **shared, "assigner": rules["first"]["assigner"]}


def _in_module(target: str, names: Mapping[str, str]) -> str:
    module, _, name = target.rpartition(".")
    return f"{names[module]}.{name}" if module in names else target


def _key(key: str, names: Mapping[str, str]) -> str:
    group, at, place = key.rpartition("@")
    found = next((name for name in names if place == name or place.startswith(f"{name}.")), None)
    return key if found is None else f"{group}{at}{names[found]}{place.removeprefix(found)}"


def _targets(node: Any) -> Iterator[str]:  # noqa: ANN401 - plain containers
    if isinstance(node, Mapping):
        if isinstance(target := node.get("_target_"), str):
            yield target
        yield from (target for value in node.values() for target in _targets(value))
    elif isinstance(node, list):
        yield from (target for value in node for target in _targets(value))


def _beside(key: str, name: str) -> str:
    return f"{key.rpartition('.')[0]}.{name}"


def _former_arguments(node: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of arguments under a former name, and their present names."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if (present := ARGUMENTS.get(f"{node.get('_target_')}.{name}")) is not None:
                yield f"{place}{name}", present
            yield from _former_arguments(value, f"{place}{name}.")


def _with_arguments(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - plain containers
    """The mappings copied, with other names of the arguments of classes; all else shared.

    Raises:
        ValueError: A class has an argument under both names.
    """
    if not isinstance(node, Mapping):
        return [_with_arguments(value, names) for value in node] if isinstance(node, list) else node
    content: dict[Any, Any] = {}
    for name, value in node.items():
        other = names.get(f"{node.get('_target_')}.{name}", name)
        if other != name and other in node:
            raise ValueError(f"{name} and {other} of {node.get('_target_')} are one setting, under two names")
        content[other] = _with_arguments(value, names)
    return content


def _with_present_targets(node: Any) -> Any:  # noqa: ANN401 - plain containers
    if isinstance(node, Mapping):
        return {
            name: present_target(value)
            if name == "_target_" and isinstance(value, str)
            else _with_present_targets(value)
            for name, value in node.items()
        }
    return [_with_present_targets(value) for value in node] if isinstance(node, list) else node


def _is_owned(config: Mapping[str, Any], key: str) -> bool:
    part = key.partition(".")[0]
    owner, node = OWNERS.get(part), config.get(part)
    return owner is None or (isinstance(node, Mapping) and node.get("_target_", owner) == owner)


def _copied(node: Any) -> Any:  # noqa: ANN401 - plain containers
    """The mappings copied, all else shared."""
    return {name: _copied(value) for name, value in node.items()} if isinstance(node, Mapping) else node


def _found(content: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - a value of any kind
    node: Any = content
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return _ABSENT
        node = node[name]
    return node


def _taken(content: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - a value of any kind
    """Remove a key and what it leaves empty inside a part; ``_ABSENT`` where there is none."""
    value = _found(content, key)
    if value is _ABSENT:
        return value
    place, _, name = key.rpartition(".")
    inside = _found(content, place)
    del inside[name]
    if not inside and "." in place:
        _taken(content, place)
    return value


def _put(content: dict[str, Any], key: str, value: Any, *, is_default: bool = False) -> None:  # noqa: ANN401 - as above
    """Add a key and the parts that it stands in; of two mappings the new one wins, unless it is a default."""
    *parts, name = key.split(".")
    for part in parts:
        if not isinstance(content.get(part), dict):
            content[part] = {}
        content = content[part]
    known = content.get(name)
    if isinstance(known, dict) and isinstance(value, Mapping):
        for inner, each in value.items():
            _put(known, inner, each)
    elif not (is_default and name in content):
        content[name] = value
