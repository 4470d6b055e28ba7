"""Published weights as checkpoints: which model they are of, and which class each of their outputs is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig

from deta.building.build import empty_detector, plain, without_pretrained
from deta.console.composing import compose
from deta.console.terminal import describe
from deta.models.detector import Detector
from deta.models.releases import read_release
from deta.runs.former_words import present_words
from deta.studies.conf import config_dir
from deta.training.checkpoint import Checkpoint, read_checkpoint
from deta.utils.files import is_there, read_yaml
from deta.utils.names import nearest, shown
from deta.zoo import Entry, Places, entries, entry, find, is_name

_PARTS = ("model", "data", "evaluator", "postprocess")
"""Of a configuration: what makes and judges a detector."""
_OF_FIRST_STAGE = "model.body.source.num_classes"


def open_checkpoint(ckpt: str | Path, places: Places | None = None) -> Checkpoint:
    """A run or checkpoint of ours, or published weights by their name; what exists as a path is that.

    Args:
        ckpt: Path or name.
        places: Of files of weights, see ``deta.zoo``.

    Raises:
        FileNotFoundError: There is no such file, run or name.
        ValueError: The file is damaged.
    """
    name = named_weights(ckpt)
    if name is None:
        return read_checkpoint(ckpt)
    weights = entry(name)
    return published_checkpoint(compose_published(weights), find(name, places), weights.words)


def named_weights(text: str | Path, *, key: str | None = None) -> str | None:
    """The name of published weights that a value is; None where it is a path that exists.

    Args:
        text: The value.
        key: Whose it is, for the message; None leaves it out.

    Raises:
        FileNotFoundError: It is neither.
    """
    if is_there(text):
        return None
    if is_name(str(text)):
        return str(text)
    found = nearest(str(text), entries())
    meant = f"did you mean {found}? " if found else ""
    given = shown(text) if key is None else f"{key}={shown(text)}"
    raise FileNotFoundError(
        f"{given} does not exist: give a checkpoint file or the directory of a run, or a name of published weights "
        f"({meant}deta weights list shows all)"
    )


def compose_published(weights: Entry, words: Sequence[str] = ()) -> DictConfig:
    """The configuration with which ``deta convert`` would read weights.

    Args:
        weights: Of the table.
        words: Further overrides, which win.
    """
    return compose("convert", [*weights.words, "source=-", "target=-", *words])


def read_published(path: Path, words: Sequence[str]) -> Checkpoint:
    """A published file as a checkpoint.

    Args:
        path: The file.
        words: What it holds, as of ``deta convert``, such as ``system=dino``.

    Raises:
        ValueError: A word does not fit, or the file is of another detector.
    """
    try:
        return published_checkpoint(compose("convert", [*words, f"source={path}", "target=-"]), path, words)
    except HydraException as error:
        raise ValueError(describe(error)) from error


def published_checkpoint(cfg: DictConfig, source: Path, words: Sequence[str]) -> Checkpoint:
    """A published file as a checkpoint.

    Args:
        cfg: Of ``deta convert``.
        source: The file.
        words: Of which ``cfg`` was made.

    Raises:
        ValueError: It is damaged, or of another detector.
    """
    model = published_model(cfg, words)
    detector = empty_detector(model, cfg.num_classes)
    assert isinstance(detector, Detector)
    state = read_release(detector, source, averaged=cfg.averaged)
    categories = {int(identity): str(name) for identity, name in cfg.categories.items()}
    ids = category_of_output(cfg.num_classes, categories)
    names = class_names(cfg.num_classes, categories)
    config = {name: plain(cfg[name]) for name in _PARTS} | {
        "model": model,
        "trainer": {"precision": cfg.trainer.precision},
    }
    shown_names = (f"unused {slot}" if name is None else name for slot, name in enumerate(names))
    return Checkpoint(source, state, config, tuple(ids), tuple(shown_names))


def published_model(cfg: DictConfig, words: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of the model; a first stage has an output for each category, unless a word says otherwise."""
    model = without_pretrained(plain(cfg.model))
    source = model.get("body", {}).get("source", {})
    is_told = any(word.startswith(f"{_OF_FIRST_STAGE}=") for word in present_words(words))
    if "num_classes" in source and not is_told:
        source["num_classes"] = cfg.num_classes
    return model


def category_of_output(num_classes: int, names: Mapping[int, str]) -> list[int | None]:
    """The category of every class output of a published detector.

    In order where there are as many as categories; as many as the largest id begin with id 1, others with id 0.
    """
    if num_classes == len(names):
        return [*sorted(names)]
    first = 1 if num_classes == max(names) else 0
    return [identity if identity in names else None for identity in range(first, first + num_classes)]


def class_names(num_classes: int, names: Mapping[int, str]) -> list[str | None]:
    """The name of every class output of a published detector; None for one without a category."""
    return [None if identity is None else names[identity] for identity in category_of_output(num_classes, names)]


def coco_names() -> dict[int, str]:
    """The categories of COCO by their ids."""
    content = read_yaml(config_dir() / "categories" / "coco.yaml")
    return {int(identity): str(name) for identity, name in content.items()}


def places_of(cfg: DictConfig) -> Places:
    """Where a command looks for files of weights."""
    return Places.of(cfg.paths.weights, cfg.paths.cache)
