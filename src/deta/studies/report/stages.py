"""The stages of a detector at which objects are assigned, as the metrics name them."""

import re
from collections.abc import Sequence

from deta.studies.report.trainings import Training

_TITLES = {
    "proposals": "first stage (proposals)",
    "layers": "second stage (last decoder layer)",
    "dense": "dense stage",
}
_LAYER = re.compile(r"layer(\d+)")


def stages(trainings: Sequence[Training], quantity: str) -> list[str]:
    """Stages for which a run has logged the quantity, in the order of the network; the last layer before each layer."""
    key = re.compile(rf"assign/(.+)/{re.escape(quantity)}")
    rows = (row for training in trainings for run in training.runs for row in run.history)
    found = {match[1] for row in rows for name in row if (match := key.fullmatch(name))}
    return sorted(found, key=_order)


def stage_title(stage: str) -> str:
    """A stage for people, with the group of further queries that it belongs to."""
    group, _, name = stage.rpartition("/")
    match = _LAYER.fullmatch(name)
    title = f"decoder layer {match[1]}" if match else _TITLES.get(name, name)
    return f"{group}: {title}" if group else title


def _order(stage: str) -> tuple[str, int, int, str]:
    group, _, name = stage.rpartition("/")
    known = list(_TITLES)
    match = _LAYER.fullmatch(name)
    return group, known.index(name) if name in known else len(known), int(match[1]) if match else 0, name
