"""The weights that a training starts from: a run, a checkpoint, a published file, or weights by their name."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from deta.building.build import empty_detector, plain
from deta.building.published import class_names, coco_names, named_weights, places_of
from deta.models.class_rows import class_rows, number_of_classes, same_classes, taken_by_class
from deta.models.detector import Detector
from deta.models.releases import from_release
from deta.models.weights import read_state_dict
from deta.training.checkpoint import Checkpoint, holds_checkpoint, load_weights, read_checkpoint
from deta.utils.checks import require_choice
from deta.utils.names import shown
from deta.utils.wording import counted
from deta.zoo import Places, entry, find

_log = logging.getLogger(__name__)

BY_SIZE, BY_NAME = "by_size", "by_name"
CLASS_HEADS = (BY_SIZE, BY_NAME)
_MOST_NAMES = 12
"""Shown of a list of classes."""


def start_from(cfg: DictConfig, detector: nn.Module, names: Sequence[str]) -> None:
    """Load the weights that ``weights=`` names, for classes as ``class_heads=`` says.

    Args:
        cfg: Of a training.
        detector: Its own, fresh.
        names: Of its classes.

    Raises:
        FileNotFoundError: There is no such file, run or name.
        ValueError: The weights are damaged, or of another detector.
    """
    how = require_choice("class_heads", cfg.get("class_heads", BY_SIZE), CLASS_HEADS)
    checkpoint = read_weights(cfg.weights, detector, places_of(cfg))
    if how == BY_SIZE:
        load_by_size(detector, checkpoint)
    else:
        _load_by_name(cfg, detector, checkpoint, names)


def read_weights(weights: str | Path, detector: nn.Module, places: Places | None = None) -> Checkpoint:
    """A checkpoint of ours, or of a published file its weights by the names of ``detector``.

    Args:
        weights: A run, a file, or a name of the table of published weights; what exists as a path is that.
        detector: Tells the names; may be without content.
        places: Of files of weights, see ``deta.zoo``.

    Raises:
        FileNotFoundError: There is no such file, run or name.
        ValueError: The file is damaged, or of another detector.
    """
    name = named_weights(weights)
    path = Path(weights) if name is None else find(name, places)
    if name is None and holds_checkpoint(path):
        return read_checkpoint(path)
    if not isinstance(detector, Detector):
        raise ValueError(f"weights={weights} is a published file, and model no Detector, of which such files are")
    try:
        state = from_release(read_state_dict(path), detector)
    except ValueError as error:
        if name is None:
            raise
        raise ValueError(f"weights={name}: {error}. They are for: {' '.join(entry(name).model_words)}") from error
    return Checkpoint(path, state, config={}, category_ids=(), category_names=())


def load_by_size(detector: nn.Module, checkpoint: Checkpoint) -> None:
    """Load weights; class heads of another size stay fresh, and a warning names them."""
    fresh = load_weights(detector, checkpoint, allow_new_classes=True)
    if fresh:
        warnings.warn(
            f"{counted(len(fresh), 'class-head weight')} of {checkpoint.path} of another size, made afresh: "
            f"{', '.join(fresh[:3])}, ... (class_heads=by_name takes over the classes that both have)",
            stacklevel=2,
        )


def _load_by_name(cfg: DictConfig, detector: nn.Module, checkpoint: Checkpoint, names: Sequence[str]) -> None:
    config = {**plain(cfg.model), "num_classes": None}
    rows = class_rows(empty_detector(config, num_classes=1), empty_detector(config, num_classes=2))
    others: Sequence[str | None] = checkpoint.category_names
    if not checkpoint.config:
        others = _published_names(number_of_classes(checkpoint.weights, rows))
    pairs = same_classes(names, others)
    weights = taken_by_class(detector.state_dict(), checkpoint.weights, rows, pairs)
    load_weights(detector, replace(checkpoint, weights=weights))
    taken = {index for index, _ in pairs}
    told = f"{len(taken)} of {counted(len(names), 'class', 'classes')} taken over by name"
    fresh = [name for index, name in enumerate(names) if index not in taken]
    _log.info("%s: %s%s", checkpoint.path, told, _listed(": ", [names[index] for index in sorted(taken)]))
    if fresh:
        _log.info(
            "%s: %s start%s", checkpoint.path, counted(len(fresh), "class", "classes"), _listed(" fresh: ", fresh)
        )


def _published_names(number: int) -> list[str | None]:
    """Of the classes of a published file, which holds numbers alone: known where there are as many as of COCO."""
    names = coco_names()
    if number not in (len(names), max(names), max(names) + 1):
        _log.warning("the weights are for %d classes, which are not those of COCO: their names are not known", number)
        return [None] * number
    return class_names(number, names)


def _listed(begin: str, names: Sequence[str]) -> str:
    some = [shown(name) for name in names[:_MOST_NAMES]]
    more = f" and {len(names) - len(some)} more" if len(names) > len(some) else ""
    return f"{begin}{', '.join(some)}{more}" if names else ""
