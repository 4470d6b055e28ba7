"""``deta convert``: turn a published checkpoint into ours, or back."""

from pathlib import Path

from omegaconf import DictConfig

from deta.commands.build import make_detector, plain, restore_detector, without_pretrained
from deta.commands.console import reports_errors
from deta.models.checkpoint import load_release, to_release
from deta.models.detector import Detector
from deta.training.checkpoint import DETECTOR_PREFIX, make_metadata, read_checkpoint
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from deta.utils.checks import require_choice
from deta.utils.wording import counted


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
    config = plain(cfg)
    config["model"] = without_pretrained(config["model"])
    detector = make_detector(config["model"], cfg.num_classes)
    assert isinstance(detector, Detector)
    load_release(detector, source)
    names = {int(identity): str(name) for identity, name in cfg.categories.items()}
    slots = range(cfg.num_classes)
    state = {f"{DETECTOR_PREFIX}{name}": value for name, value in detector.state_dict().items()}
    metadata = make_metadata(
        {
            key: value
            for key, value in config.items()
            if key in ("model", "data", "evaluator", "postprocess", "trainer")
        },
        [slot if slot in names else None for slot in slots],
        [names.get(slot, f"unused {slot}") for slot in slots],
    )
    save_tensors({"state_dict": state, CHECKPOINT_KEY: metadata}, target)
    return len(state)


def _to_release(cfg: DictConfig, source: Path, target: Path) -> int:
    detector = restore_detector(read_checkpoint(source), cfg.trusted)
    assert isinstance(detector, Detector)
    state = to_release(detector)
    save_tensors({"model": state}, target)
    return len(state)
