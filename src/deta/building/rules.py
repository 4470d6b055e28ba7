"""Rules of assignment by their names, for a program."""

from collections.abc import Mapping, Sequence

from hydra.errors import HydraException

from deta.analysis.candidates import AnchorGrid
from deta.analysis.laboratory import Contender
from deta.assign import Assigner
from deta.building.build import make
from deta.console.composing import compose
from deta.console.rule_words import LOOK_AT_PREDICTIONS, rule_words
from deta.console.terminal import describe
from deta.studies.conf import config_dir
from deta.utils.checks import require_callable


def make_contenders(
    rules: Sequence[str | Assigner] | Mapping[str, Assigner], *, needs_candidates: bool
) -> dict[str, Contender]:
    """Rules with candidates, by name.

    Args:
        rules: Names of ``conf/compare``, or rules.
        needs_candidates: Whether they get none later.

    Raises:
        ValueError: A name is unknown or given twice, or its rule looks at predictions and needs candidates.
    """
    if isinstance(rules, str) or not rules:
        raise ValueError(f"rules must be a list of names or rules, such as ['iou', 'atss'], got {rules!r}")
    named: dict[str, str | Assigner] = dict(rules) if isinstance(rules, Mapping) else {}
    for rule in () if isinstance(rules, Mapping) else rules:
        name = rule if isinstance(rule, str) else type(rule).__name__
        if name in named:
            raise ValueError(f"rules must have different names, got {name} twice: give a mapping of names to rules")
        named[name] = rule
    for name, rule in named.items():
        if not isinstance(rule, str):
            require_callable(f"rules: {name}", rule)
    words = [name for name, rule in named.items() if isinstance(rule, str)]
    made = _shipped(words, needs_candidates=needs_candidates) if words else {}
    return {
        name: made[name] if isinstance(rule, str) else Contender(rule, AnchorGrid()) for name, rule in named.items()
    }


def _shipped(names: Sequence[str], *, needs_candidates: bool) -> dict[str, Contender]:
    try:
        words = rule_words([f"assigner=[{','.join(names)}]"], _choices)
        compared = compose("data_assign", words).compare
    except HydraException as error:
        raise ValueError(describe(error)) from error
    found = {}
    for name in names:
        node = compared.get(name)
        if node is None:
            raise ValueError(f"rules: {name} stands for several rules: name them one by one")
        if name in LOOK_AT_PREDICTIONS and needs_candidates:
            raise ValueError(f"rules: {name} looks at what a network predicts: give candidates, and scores")
        found[name] = Contender(make(node.assigner), make(node.candidates))
    return found


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
