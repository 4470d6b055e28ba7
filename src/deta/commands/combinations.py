"""Choices that do not go together, found before data is read."""

import inspect
from collections.abc import Iterable, Sequence

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from deta.losses import Criterion
from deta.models.body import Body

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


def require_further(cfg: DictConfig) -> None:
    """Refuse further queries that a body has no place for, and queries made of objects where a source makes none.

    Raises:
        ValueError: Such queries were chosen.
    """
    body = OmegaConf.select(cfg, "model.body")
    if not isinstance(body, DictConfig):
        return
    for key, node, name, what in (
        ("model.body", body, "groups", "has no further queries (further=)"),
        ("model.body.source", body.get("source"), "labels", "makes no queries of objects, which denoising needs"),
    ):
        if isinstance(node, DictConfig) and node.get(name) and not _takes(node, name):
            raise ValueError(f"{key} ({node.get('_target_')}) {what}: choose another system, or another further=")


def require_rules(criterion: Criterion, body: object) -> None:
    """Compare the rules of a criterion with the stages of a detector, which must be the same.

    Raises:
        ValueError: A rule has no stage, or a stage no rule.
    """
    roles = body.roles if isinstance(body, Body) else None
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


def _takes(node: DictConfig, name: str) -> bool:
    """Whether what a node makes has an argument of this name; what cannot be looked at may have it."""
    try:
        arguments = inspect.signature(get_object(str(node.get("_target_")))).parameters
    except (ImportError, ValueError, TypeError):
        return True  # said where it is made
    return name in arguments or any(each.kind is each.VAR_KEYWORD for each in arguments.values())


def _named(roles: Sequence[str]) -> str:
    return " and ".join(roles)
