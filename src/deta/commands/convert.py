"""``deta convert``: turn a published checkpoint into ours, or back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from deta.commands.build import make_detector, plain, restore_detector, without_pretrained
from deta.commands.console import reports_errors
from deta.models.detector import Detector
from deta.models.releases import load_release, to_release
from deta.training.checkpoint import DETECTOR_PREFIX, Checkpoint, holds_checkpoint, make_metadata, read_checkpoint
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from deta.utils.checks import require_bool, require_choice
from deta.utils.wording import counted

_KEPT = ("model", "data", "evaluator", "postprocess", "trainer")
"""What a checkpoint needs of a configuration."""


@reports_errors
def run(cfg: DictConfig) -> None:
    """Map every weight, strictly; nothing is left out or left fresh."""
    require_choice("direction", cfg.direction, ("from_release", "to_release"))
    source, target = Path(cfg.source), Path(cfg.target)
    if not source.exists():
        raise FileNotFoundError(f"source={source} does not exist")
    if target.exists():
        raise FileExistsError(f"target={target} exists; remove it or choose another name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"target={target}: the folder {target.parent} does not exist")
    is_published = cfg.direction == "from_release"
    num_weights = _from_release(cfg, source, target) if is_published else _to_release(cfg, source, target)
    print(f"Wrote {counted(num_weights, 'weight')} to {target}")


def _from_release(cfg: DictConfig, source: Path, target: Path) -> int:
    if holds_checkpoint(source):
        raise ValueError(f"source={source} is a checkpoint of deta already; direction=to_release is the way back")
    read = from_published(cfg, source)
    state = {f"{DETECTOR_PREFIX}{name}": value for name, value in read.weights.items()}
    metadata = make_metadata(read.config, read.category_ids, read.category_names)
    save_tensors({"state_dict": state, CHECKPOINT_KEY: metadata}, target)
    return len(state)


def from_published(cfg: DictConfig, source: Path) -> Checkpoint:
    """A published file as a checkpoint of ours, with what the configuration of the command says beside its weights.

    Raises:
        ValueError: The file is of another detector, or damaged.
    """
    config = {**plain(cfg), "model": published_model(cfg)}
    detector = make_detector(config["model"], cfg.num_classes)
    assert isinstance(detector, Detector)
    load_release(detector, source, averaged=require_bool("averaged", cfg.averaged))
    names = {int(identity): str(name) for identity, name in cfg.categories.items()}
    identities = category_of_output(cfg.num_classes, names)
    return Checkpoint(
        path=source,
        weights=detector.state_dict(),
        config={name: config[name] for name in _KEPT if name in config},
        category_ids=tuple(identities),
        category_names=tuple(
            f"unused {slot}" if identity is None else names[identity] for slot, identity in enumerate(identities)
        ),
    )


def category_of_output(num_classes: int, names: Mapping[int, str]) -> list[int | None]:
    """The category of every class output: in order where there are as many, else the one with its number, if any."""
    if num_classes == len(names):
        return [*sorted(names)]
    return [slot if slot in names else None for slot in range(num_classes)]


def published_model(cfg: DictConfig) -> dict[str, Any]:
    """The configuration of the model, with as many class outputs of a first stage as were published."""
    model = without_pretrained(plain(cfg)["model"])
    source = model.get("body", {}).get("source", {})
    if "num_classes" in source:
        source["num_classes"] = cfg.first_stage_classes
    return model


def _to_release(cfg: DictConfig, source: Path, target: Path) -> int:
    detector = restore_detector(read_checkpoint(source), cfg.trusted)
    assert isinstance(detector, Detector)
    state = to_release(detector, cfg.layout)
    save_tensors({"model": state}, target)
    return len(state)
