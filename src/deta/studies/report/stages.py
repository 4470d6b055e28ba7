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
    key = re.compile(rf"assign/([^/]+)/{re.escape(quantity)}")
    rows = (row for training in trainings for run in training.runs for row in run.history)
    found = {match[1] for row in rows for name in row if (match := key.fullmatch(name))}
    return sorted(found, key=_order)


def stage_title(stage: str) -> str:
    """A stage for people."""
    match = _LAYER.fullmatch(stage)
    return f"decoder layer {match[1]}" if match else _TITLES.get(stage, stage)


def _order(stage: str) -> tuple[int, int, str]:
    known = list(_TITLES)
    match = _LAYER.fullmatch(stage)
    return known.index(stage) if stage in known else len(known), int(match[1]) if match else 0, stage
