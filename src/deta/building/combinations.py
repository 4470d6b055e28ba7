"""Choices that do not go together, found before data is read."""

from collections.abc import Iterable, Sequence
from inspect import signature

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from deta.assign import SampledAssigner
from deta.losses import Criterion
from deta.models.body import Body
from deta.models.roi.body import RoIBody
from deta.structures import SoftmaxScore

_RULES = "criterion.rules"


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


def _takes(node: DictConfig, name: str) -> bool:
    """Whether what a node makes can be given an argument of that name."""
    try:
        parameters = signature(get_object(str(node.get("_target_")))).parameters
    except (ImportError, TypeError, ValueError):  # making it tells why
        return True
    return name in parameters or any(each.kind == each.VAR_KEYWORD for each in parameters.values())


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


def require_scores(criterion: Criterion, body: object) -> None:
    """Refuse a rule of the first stage of a region detector that takes its one output as a softmax, as of the second.

    Raises:
        ValueError: It does.
    """
    if not isinstance(body, RoIBody) or "first" not in criterion.rules:
        return
    rule, key = criterion.rules["first"].assigner, f"{_RULES}.first.assigner"
    if isinstance(rule, SampledAssigner):
        rule, key = rule.assigner, f"{key}.assigner"
    remedies = {"score": "null", "scores": "sigmoid"}
    for name, remedy in remedies.items():
        if getattr(rule, name, None) == "softmax" or isinstance(getattr(rule, name, None), SoftmaxScore):
            raise ValueError(
                f"{key}.{name} of {type(rule).__name__} is a softmax, which the one output of a first stage does not "
                f"have: give {key}.{name}={remedy}"
            )


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
