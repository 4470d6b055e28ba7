"""The metric that a callback decides by must be one that the run logs."""

import lightning.pytorch as pl

from deta.utils.names import nearest

_OF_LIGHTNING = ("epoch", "step")
"""What Lightning knows beside the metrics."""


def require_metric(key: str, name: str | None, trainer: pl.Trainer) -> None:
    """Require a metric to be there after a validation.

    Args:
        key: Of the configuration, which names the metric.
        name: Of the metric; None asks for none.
        trainer: Knows the metrics that were logged.

    Raises:
        ValueError: There is no such metric.
    """
    known = sorted(trainer.callback_metrics)
    if name is None or name in (*known, *_OF_LIGHTNING):
        return
    found = nearest(name, known)
    advice = f"did you mean {found}?" if found else f"there are {', '.join(known)}"
    raise ValueError(f"{key}={name} is no metric of this run: {advice}")
