"""``deta convert``: turn a published checkpoint into ours, or back."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deta.building.build import restore_detector
from deta.building.published import compose_published, named_weights, places_of, published_checkpoint
from deta.console.terminal import reports_errors
from deta.console.words import given_words
from deta.models.detector import Detector
from deta.models.releases import to_release
from deta.training.checkpoint import DETECTOR_PREFIX, holds_checkpoint, make_metadata, read_checkpoint
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from deta.utils.checks import require_bool, require_choice
from deta.utils.wording import counted
from deta.zoo import entry, find


@reports_errors
def run(cfg: DictConfig) -> None:
    """Map every weight, strictly; nothing is left out or left fresh."""
    require_choice("direction", cfg.direction, ("from_release", "to_release"))
    is_published = cfg.direction == "from_release"
    name = named_weights(cfg.source, key="source") if is_published else None
    words = given_words(HydraConfig.get().overrides.task)
    if name is not None:
        cfg, words = compose_published(entry(name), words), [*entry(name).words, *words]
    source, target = Path(cfg.source), Path(cfg.target)
    if name is None and not source.exists():
        raise FileNotFoundError(f"source={source} does not exist")
    if target.exists():
        raise FileExistsError(f"target={target} exists; remove it or choose another name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"target={target}: the folder {target.parent} does not exist")
    if name is not None:
        source = find(name, places_of(cfg))
    num_weights = _from_release(cfg, source, target, words) if is_published else _to_release(cfg, source, target)
    print(f"Wrote {counted(num_weights, 'weight')} to {target}")


def _from_release(cfg: DictConfig, source: Path, target: Path, words: Sequence[str]) -> int:
    if holds_checkpoint(source):
        raise ValueError(f"source={source} is a checkpoint of deta already; direction=to_release is the way back")
    require_bool("averaged", cfg.averaged)
    checkpoint = published_checkpoint(cfg, source, words)
    state = {f"{DETECTOR_PREFIX}{name}": value for name, value in checkpoint.weights.items()}
    metadata = make_metadata(checkpoint.config, checkpoint.category_ids, checkpoint.category_names)
    save_tensors({"state_dict": state, CHECKPOINT_KEY: metadata}, target)
    return len(state)


def _to_release(cfg: DictConfig, source: Path, target: Path) -> int:
    detector = restore_detector(read_checkpoint(source), cfg.trusted)
    assert isinstance(detector, Detector)
    state = to_release(detector, cfg.layout)
    save_tensors({"model": state}, target)
    return len(state)
