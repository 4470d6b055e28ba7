"""Choices that do not go together, found before data is read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from deta.assign import SampledAssigner
from deta.losses import Criterion, CrossEntropy, FocalLoss
from deta.models.body import Body
from deta.models.dense.body import DenseBody
from deta.models.query.fqdet import FQDetBody
from deta.models.roi.body import RoIBody
from deta.structures import SigmoidScore, SoftmaxScore

_RULES = "criterion.rules"
QUERY_PARTS = ("encoder", "source", "decoder")
"""Parts of a body that ``conf/width`` speaks of."""
_PARTS = ("model", "selection", "criterion", "postprocess")
"""Sections of a configuration whose files choose parts for each other."""


def require_arguments(cfg: DictConfig) -> None:
    """Refuse settings of a part that another choice has put there, and a part that lacks what no choice gives it.

    Raises:
        ValueError: There is such a setting, or such a lack; the message names the keys of both.
    """
    for section in _PARTS:
        if OmegaConf.select(cfg, section) is not None:
            for place, node in _nodes(OmegaConf.to_container(cfg[section], resolve=False), section):
                _require_taken(place, node)
    body = OmegaConf.select(cfg, "model.body._target_")
    for role, rule in (OmegaConf.select(cfg, _RULES) or {}).items():
        for place, node in (
            [] if rule is None else _nodes(OmegaConf.to_container(rule, resolve=False), f"{_RULES}.{role}")
        ):
            if "assigner" in _lacking(node) or _is_without_class(node.get("assigner")):
                raise ValueError(
                    f"{place} ({node['_target_']}) has no assigner, which no choice gives it: take one by "
                    f"assigner@{place}.assigner=<name>, or the criterion= of a system with this model.body ({body})"
                )
    try:
        OmegaConf.to_container(cfg.criterion, resolve=True)
    except InterpolationKeyError as error:
        raise ValueError(
            f"{error.full_key} follows a setting that is not there ({str(error).partition(chr(10))[0]}): take the "
            f"criterion= of a system with this model.body ({body})"
        ) from error


def _nodes(node: object, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All nodes that make something, with the dotted keys of their places."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield place, node
        for name, value in node.items():
            yield from _nodes(value, f"{place}.{name}")


def are_our_own(config: Mapping[str, Any]) -> bool:
    """Whether all parts of a plain configuration are of deta or PyTorch: others may keep what they compute first."""
    return all(str(node["_target_"]).partition(".")[0] in ("deta", "torch") for _, node in _nodes(config, ""))


def _require_taken(place: str, node: Mapping[str, Any]) -> None:
    of_width = QUERY_PARTS if place == "model.body" else ()  # left out where the body has no such part
    names = [name for name, value in node.items() if not (name in of_width and _is_without_class(value))]
    keys = {
        f"{place}.{name}": node[name] for name in names if not str(name).startswith("_") and not _takes(node, str(name))
    }
    if keys:
        # Hydra takes out no null.
        words = [f"{key}=0 ~{key}" if value is None else f"~{key}" for key, value in keys.items()]
        raise ValueError(
            f"{', '.join(keys)}: {place} ({node['_target_']}) has no such setting. What another choice has set is "
            f"left out by {' '.join(words)}"
        )


def _lacking(node: Mapping[str, Any]) -> list[str]:
    """Arguments that a node must have, and has not."""
    known = {} if node.get("_partial_") else _parameters(node) or {}
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [
        name
        for name, each in known.items()
        if each.default is each.empty and each.kind in kinds and name not in node and "_args_" not in node
    ]


def _is_without_class(node: object) -> bool:
    return isinstance(node, Mapping) and "_target_" not in node


def _parameters(node: Mapping[str, Any] | DictConfig) -> Mapping[str, Parameter] | None:
    """Arguments of what a node makes; None where making it tells what is wrong with it."""
    try:
        return signature(get_object(str(node.get("_target_")))).parameters
    except (ImportError, TypeError, ValueError):
        return None


def require_effect(cfg: DictConfig, words: Iterable[str]) -> None:
    """Refuse a word for a first stage, or for a selection from one, where the model has none.

    Raises:
        ValueError: There is such a word, which would change nothing.
    """
    source = OmegaConf.select(cfg, "model.body.source")
    selects = isinstance(source, DictConfig) and "selection" in source
    has_first = OmegaConf.select(cfg, f"{_RULES}.first") is not None
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if not selects and (key == "selection" or key.startswith("selection.")):
            what = source.get("_target_") if isinstance(source, DictConfig) else source
            raise ValueError(f"{word} has no effect: model.body.source ({what}) selects from no first stage")
        if not has_first and key == "rule/first":
            raise ValueError(f"{word.replace('rule/first', 'rule@first')} has no effect: {_RULES}.first is null")


def require_agreement(cfg: DictConfig) -> None:
    """Refuse parts of a model that cannot be had together, or with the rules.

    Raises:
        ValueError: There are such; the message names the keys of both.
    """
    body, source = (OmegaConf.select(cfg, f"model.{name}") for name in ("body", "body.source"))
    if not (isinstance(body, DictConfig) and isinstance(source, DictConfig) and "_target_" in source):
        return  # a body of another kind, beside which a width says how many queries there would be
    groups, labels = body.get("groups") or {}, source.get("labels")
    if groups and not _takes(body, "groups"):
        raise ValueError(
            f"model.body.groups.{next(iter(groups))} (further=) makes more queries, which model.body "
            f"({body.get('_target_')}) does not take: give further=[]"
        )
    if labels is not None and not _takes(source, "labels"):
        raise ValueError(
            f"model.body.groups.denoise (further=) makes queries of objects, for which model.body.source "
            f"({source.get('_target_')}) has no labels: leave it out, or take queries@model.body.source=boxes"
        )
    if OmegaConf.select(cfg, "model.body.head.scores") == "softmax" and OmegaConf.select(cfg, f"{_RULES}.first"):
        raise ValueError(
            "model.body.head.scores=softmax (classes=softmax) lets classes share a probability, which those of a first "
            f"stage ({_RULES}.first) do not: give classes=sigmoid, or a detector of one stage"
        )


def require_layout(cfg: DictConfig) -> None:
    """Refuse the evaluation of one layout of annotations for the other, COCO or LVIS, and losses of LVIS without it.

    Raises:
        ValueError: They are not those of the data.
    """
    layout, evaluator = (OmegaConf.select(cfg, key) for key in ("data.layout", "evaluator._target_"))
    if (layout, evaluator) in (("lvis", "deta.evaluation.CocoEvaluator"), ("coco", "deta.evaluation.LvisEvaluator")):
        raise ValueError(
            f"data.layout={layout} is judged by the rules of {layout.upper()}, but evaluator makes {evaluator}: give "
            f"evaluator={layout}, or data with annotations of its layout"
        )
    is_generated = OmegaConf.select(cfg, "data._target_") == "deta.data.ShapesDataModule"
    for role in reversed(list(OmegaConf.select(cfg, _RULES) or {})):  # that of a first stage follows the layers
        key = f"{_RULES}.{role}.federated"
        if (layout == "coco" or is_generated) and OmegaConf.select(cfg, key) is True:
            raise ValueError(
                f"{key}=true counts classes that were looked for in an image, which "
                f"{'data=shapes does' if is_generated else 'annotations of data.layout=coco do'} not tell: give "
                f"{key}=false, or data=lvis"
            )


def _takes(node: Mapping[str, Any] | DictConfig, name: str) -> bool:
    """Whether what a node makes can be given an argument of that name, or making it tells what is wrong."""
    parameters = _parameters(node)
    return (
        parameters is None or name in parameters or any(each.kind == each.VAR_KEYWORD for each in parameters.values())
    )


def require_rules(criterion: Criterion, body: object) -> None:
    """Compare the rules of a criterion with the stages of a detector, which must be the same.

    Raises:
        ValueError: A rule has no stage, or a stage no rule; or a rule needs a place of candidates that have none.
    """
    roles, placed = (body.roles, body.placed) if isinstance(body, Body) else (None, None)
    if roles is None:
        return
    what = f"model.body ({type(body).__name__})"
    for role in criterion.rules.keys() - set(roles):
        raise ValueError(
            f"{_RULES}.{role} has a rule, but {what} has {_named(roles)} alone: give {_RULES}.{role}=null, or a model "
            "with such a stage"
        )
    for role in set(roles) - criterion.rules.keys():
        raise ValueError(f"{what} has {role}, but {_RULES} has rules for {_named(list(criterion.rules))} alone")
    for role, rule in criterion.every_rule():
        for assigner in (rule.assigner, rule.box_assigner):
            needs = set(getattr(assigner, "needs", ())) & {"levels", "strides"}
            if needs and placed is not None and (rule.on or role) not in placed:
                raise ValueError(
                    f"{_RULES}.{role} ({type(assigner).__name__}) needs {_named(sorted(needs))} of candidates, which "
                    f"learned queries of {what} do not have: choose another rule, or a model with a first stage"
                )
            if rule.on is not None and (hasattr(assigner, "score") or hasattr(assigner, "scores")):
                raise ValueError(
                    f"{_RULES}.{role}.on={rule.on} lets {_RULES}.{role}.assigner ({type(assigner).__name__}) see "
                    f"candidates whose outputs are no classes to score them by: set {_RULES}.{role}.on=null"
                )


def require_scores(criterion: Criterion, body: object) -> None:
    """Refuse a rule of a first stage with one output that scores it as the outputs of the second: beside a background.

    Raises:
        ValueError: It does.
    """
    if not isinstance(body, RoIBody | FQDetBody) or "first" not in criterion.rules:
        return
    rule, key = criterion.rules["first"].assigner, f"{_RULES}.first.assigner"
    if isinstance(rule, SampledAssigner):
        rule, key = rule.assigner, f"{key}.assigner"
    remedies = {"score": "null", "scores": "sigmoid"}
    for name, remedy in remedies.items():
        score = getattr(rule, name, None)
        what = "a softmax" if score == "softmax" or isinstance(score, SoftmaxScore) else None
        if getattr(score, "has_background", False):
            what = "that of postprocess.score with a background"
        if what is not None:
            raise ValueError(
                f"{key}.{name} of {type(rule).__name__} is {what}, which the one output of a first stage does not "
                f"have: give {key}.{name}={remedy}"
            )


def require_outputs(cfg: DictConfig, criterion: Criterion, postprocess: object, body: object) -> None:
    """Refuse what takes outputs of classes as a softmax where they are none, or the other way around.

    Raises:
        ValueError: There is such a part; the message names its key and that of the head.
    """
    told = OmegaConf.select(cfg, "model.body.head.scores")
    kind = "sigmoid" if isinstance(body, DenseBody) else told
    if not isinstance(body, Body) or kind not in ("sigmoid", "softmax"):
        return
    parts: list[tuple[str, object]] = [("postprocess.score", getattr(postprocess, "score", None))]
    for role, rule in criterion.every_rule():
        if role != "first":
            parts += [(f"{_RULES}.{role}.class_terms.{name}", term) for name, term in rule.class_terms.items()]
            parts += [
                (f"{_RULES}.{role}.assigner.{name}", getattr(rule.assigner, name, None)) for name in ("score", "scores")
            ]
    for key, part in parts:
        if _outputs_of(part) not in (None, kind):
            name = part if isinstance(part, str) else type(part).__name__
            raise ValueError(
                f"{key} ({name}) takes outputs of classes as a {_outputs_of(part)}, and model.body.head gives those of "
                f"a {kind}: choose both alike, in query systems by classes={kind}"
            )


def _outputs_of(part: object) -> str | None:
    """Which outputs a part speaks of; None where it is not known, or the last output is a background by itself."""
    if isinstance(part, str):
        return part
    if isinstance(part, SoftmaxScore | CrossEntropy):
        return "softmax"
    has_background = getattr(part, "has_background", False) or getattr(part, "background", False)
    return "sigmoid" if isinstance(part, SigmoidScore | FocalLoss) and not has_background else None


def require_grid(postprocess: object, body: object) -> None:
    """Refuse a selection that looks at neighbours on a grid where what detects lies on none.

    Raises:
        ValueError: It does.
    """
    if getattr(postprocess, "needs_grid", False) and isinstance(body, Body) and body.detects_on_grid is False:
        raise ValueError(
            f"postprocess ({type(postprocess).__name__}) needs candidates on a grid, as a dense head predicts, which "
            f"model.body ({type(body).__name__}) does not: use postprocess=nms or postprocess=topk"
        )


def _named(roles: Sequence[str]) -> str:
    return " and ".join(roles)
