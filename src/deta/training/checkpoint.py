"""Checkpoint files: written whole or not at all; read for their weights and what builds the detector again."""

import logging
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from deta.models.weights import unfit_numbers
from deta.runs.cells import WORDS
from deta.runs.data_record import DataRecord
from deta.runs.former import is_owned, present_weight, with_present_names, with_present_weights
from deta.runs.state import LAST, PREVIOUS
from deta.training.checkpoint_numbers import is_optimizer_state, spoilt_numbers
from deta.training.content_digest import content_digest
from deta.training.continuation import AVERAGED_FROM
from deta.training.module import CHECKPOINT_KEY
from deta.training.optim import PARAMETER_NAMES
from deta.training.plain_config import is_text, plain_copy
from deta.training.tensor_files import save_tensors
from deta.utils.torch_file import read_torch_file
from deta.utils.wording import counted

_log = logging.getLogger(__name__)

DETECTOR_PREFIX = "detector."
TRAINING_STATE: Mapping[str, type] = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What a checkpoint holds beside weights and metadata if training can go on from it."""
RESUME_KEY = "deta_resume"
"""Under this key a training's checkpoint has its place in the metrics and the random states of its ranks."""
DIGEST_KEY = "deta_digest"
"""Under this key a training's checkpoint has the digest of all else that it holds."""
_PARTS = (CHECKPOINT_KEY, "state_dict")
_WEIGHTS = ("state_dict", AVERAGED_FROM)
BEST = "best.ckpt"
KEPT = ("all", "weights")
"""What a run that is done may leave."""
_MOST_NAMED = 5
"""Weights that a message names."""
_OF_CLASSES = ("class", ".labels.")
"""Parts of the names of weights that have a row for each class."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name in the same folder, syncs it and renames it; reads it with its checksums.

    Lightning's own way stages the file in ``TMPDIR``, and where that is another file system a killed process leaves
    half a checkpoint.
    """

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The content of a checkpoint, plain data alone, by its checksums; tensors come on the CPU."""
        return read_training(Path(path))

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401 - as Lightning declares it
    ) -> None:
        """Write ``checkpoint`` and its digest to ``path``, a local file; ``storage_options`` is not used."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors({**checkpoint, DIGEST_KEY: content_digest(checkpoint)}, path)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of ours.

    Attributes:
        path: The file.
        weights: State dict of the detector.
        config: Resolved configuration of the run, plain data.
        category_ids: Category id of every class index; None for a class without a category.
        category_names: Name of every class index.
        exif: What the training did to EXIF orientations, ``apply`` or ``ignore``; None where it met none.
    """

    path: Path
    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]
    category_ids: tuple[int | None, ...]
    category_names: tuple[str, ...]
    exif: str | None = None


def find_checkpoint(path: str | Path, *, name: str = "best") -> Path:
    """The checkpoint file that ``path`` means.

    Args:
        path: A file, or a run directory.
        name: Which one of a run directory: ``best`` or ``last``; where ``best`` is missing, ``last``,
            and where that is missing, the one before it.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    folder = path / "checkpoints"
    for candidate in dict.fromkeys((f"{name}.ckpt", LAST, PREVIOUS)):
        if (folder / candidate).is_file():
            return folder / candidate
    if (path / "metrics.jsonl").is_file() or (path / WORDS).is_file():
        again = f"deta runs resume {shlex.quote(f'folder={path}')}"
        raise FileNotFoundError(f"{path} has saved nothing yet: {again} starts it again")
    inside = next((file for file in (path / f"{name}.ckpt", path / LAST, path / PREVIOUS) if file.is_file()), None)
    if inside is not None:
        run = f"its run, {path.parent}, or " if path.name == folder.name else ""
        raise FileNotFoundError(f"{path} is a folder of checkpoints: give {run}one of its files, such as {inside}")
    runs = sorted({file.parent.parent for file in path.glob("*/checkpoints/*.ckpt") if file.is_file()})
    if runs:
        raise FileNotFoundError(
            f"{path} is a folder of {counted(len(runs), 'run')}: give one of them, such as {runs[0]}"
        )
    what = f"holds no checkpoints/{name}.ckpt" if path.is_dir() else "does not exist"
    raise FileNotFoundError(f"{path} {what}: give a checkpoint file or the directory of a run")


def find_resumable(path: str | Path) -> Path:
    """The checkpoint from which a run is continued: the file itself, or of a run the newest that can be read.

    Raises:
        FileNotFoundError: There is none.
        ValueError: What there is cannot be read.
    """
    folder = Path(path) / "checkpoints"
    if (folder / BEST).is_file() and not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        raise ValueError(
            f"{path} has kept its best weights alone (keep=weights), from which no training goes on: weights={path} "
            "starts another run from them"
        )
    newest = find_checkpoint(path, name="last")
    if Path(path).is_file():
        return newest
    candidates = [newest.with_name(name) for name in (LAST, PREVIOUS)]
    for candidate in (file for file in candidates if file.exists()):
        try:
            read_training(candidate)
        except (ValueError, OSError) as error:
            _log.warning("%s", error)
            continue
        if candidate.name != LAST:
            _log.warning("continuing from %s: the one after it is missing or damaged", candidate)
        return candidate
    raise ValueError(f"{path}: no checkpoint of this run can be read; remove the folder to start anew")


def keep_weights(run: Path) -> None:
    """Leave of the checkpoints of a run the weights of the best one, averages where it averaged, without more.

    A run without a best one keeps what it has, and a warning says so.
    """
    folder = run / "checkpoints"
    best = folder / BEST
    if not best.is_file():
        _log.warning("%s has no best checkpoint, so that its checkpoints stay as they are", run)
        return
    content = _read(best)
    save_tensors({name: content[name] for name in _PARTS}, best)
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def read_training(path: Path) -> dict[str, Any]:
    """The whole content of a checkpoint from which training can go on.

    Raises:
        ValueError: The file is damaged, holds more than data, is no such checkpoint, was changed since it was written,
            or its numbers are spoilt.
        OSError: It cannot be read.
    """
    content = _read(path, as_written=True)
    wrong = [name for name, kind in TRAINING_STATE.items() if type(content.get(name)) is not kind]
    wrong += [name for name in ("loops", "optimizer_states") if name not in wrong and not content[name]]
    if "optimizer_states" not in wrong and not all(map(is_optimizer_state, content["optimizer_states"])):
        wrong.append("optimizer_states")
    wrong += [name for name in ("epoch", "global_step") if name not in wrong and content[name] < 0]
    if wrong:
        raise ValueError(
            f"{path} holds weights, but no training goes on from it ({', '.join(wrong)}): give last.ckpt of a run, or "
            "weights=<file> to start from its weights"
        )
    states = [content[key] for key in _WEIGHTS if isinstance(content.get(key), dict)]
    spoilt = spoilt_numbers(states, content["optimizer_states"], DETECTOR_PREFIX)
    if spoilt:
        more = f" and {len(spoilt) - _MOST_NAMED} more" if len(spoilt) > _MOST_NAMED else ""
        raise ValueError(f"{path}: no training goes on from its numbers: {', '.join(spoilt[:_MOST_NAMED])}{more}")
    return content


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running any code that it holds.

    Raises:
        FileNotFoundError: There is no such file or run.
        ValueError: The file is damaged, holds more than data, or is not a checkpoint of ours.
    """
    path = find_checkpoint(path)
    content = _read(path)
    metadata = content[CHECKPOINT_KEY]
    ids, names = metadata.get("category_ids"), metadata.get("category_names")
    if not isinstance(ids, list) or not all(identity is None or type(identity) is int for identity in ids):
        raise ValueError(f"{path}: category_ids must be a list of whole numbers")
    if not isinstance(names, list) or not all(is_text(name) for name in names) or len(names) != len(ids):
        raise ValueError(f"{path}: category_names must be a list of one text for each of {len(ids)} classes")
    if not isinstance(metadata.get("config"), dict):
        raise ValueError(f"{path}: config must be the configuration of a training")
    stored = plain_copy(metadata["config"], path)
    try:
        config = with_present_names(stored)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    weights = {
        name.removeprefix(DETECTOR_PREFIX): value
        for name, value in content["state_dict"].items()
        if name.startswith(DETECTOR_PREFIX)
    }
    return Checkpoint(
        path=path,
        weights=weights,
        config=config,
        category_ids=tuple(ids),
        category_names=tuple(names),
        exif=metadata.get("exif"),
    )


def holds_checkpoint(path: str | Path) -> bool:
    """Whether a file is one of ours, or a directory of a run, rather than what another program has written.

    Raises:
        FileNotFoundError: There is no such file or run.
        ValueError: The file is damaged, or holds programs.
    """
    path = find_checkpoint(path)
    if path.suffix == ".safetensors":
        return False
    content = read_torch_file(path, is_published=True).content
    return isinstance(content, dict) and CHECKPOINT_KEY in content


def read_stored_data(path: Path) -> DataRecord | None:
    """The data with which the training of a checkpoint was made; None if the file does not say.

    Raises:
        ValueError: The file is damaged, or says it otherwise than ``DataRecord.to_dict``.
        OSError: It cannot be read.
    """
    stored = _read(path)[CHECKPOINT_KEY].get("data")
    try:
        return None if stored is None else DataRecord.from_dict(stored)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path, *, as_written: bool = False) -> dict[str, Any]:
    """The content of a checkpoint of ours.

    Args:
        path: The file.
        as_written: Compare the content with its digest, which files of earlier versions do not have.

    Raises:
        ValueError: It is damaged, holds more than data, is not ours, or not as it was written.
    """
    content = read_torch_file(path).content
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in _PARTS):
        raise ValueError(
            f'{path} is not a deta checkpoint; deta convert and deta.load(path, "system=...") read published ones'
        )
    for name, value in content["state_dict"].items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: state_dict must map names to tensors, got {name!r}: {type(value).__name__}")
    written = content.pop(DIGEST_KEY, None)
    if as_written and written is not None and not _is_digest(written, content):
        raise ValueError(
            f"{path} was changed since training wrote it, and no training goes on from it: give the file as it was, or "
            f"weights={path} to start another run from its weights"
        )
    config = content[CHECKPOINT_KEY].get("config")
    if isinstance(config, dict) and is_owned(config, "model"):
        _name_weights_as_now(content)
    return content


def _is_digest(written: object, content: Mapping[str, Any]) -> bool:
    try:
        return written == content_digest(content)
    except ValueError:  # larger than any that was written
        return False


def _name_weights_as_now(content: dict[str, Any]) -> None:
    """Give weights, what is averaged of them, and the optimizer's list of them their present names."""
    for key in _WEIGHTS:
        if isinstance(content.get(key), dict):
            content[key] = with_present_weights(content[key], DETECTOR_PREFIX)
    for state in _dictionaries(content.get("optimizer_states")):
        for group in _dictionaries(state.get("param_groups")):
            if isinstance(group.get(PARAMETER_NAMES), list):
                group[PARAMETER_NAMES] = [present_weight(str(name)) for name in group[PARAMETER_NAMES]]


def _dictionaries(values: object) -> list[dict[Any, Any]]:
    """Those of a list out of a file, which may be anything."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def make_metadata(
    config: Mapping[str, Any], category_ids: Iterable[int | None], category_names: Iterable[str]
) -> dict[str, Any]:
    """What ``read_checkpoint`` expects beside the weights."""
    return {
        "config": config,
        "category_ids": list(category_ids),
        "category_names": list(category_names),
    }


def load_weights(detector: nn.Module, checkpoint: Checkpoint, *, allow_new_classes: bool = False) -> list[str]:
    """Load a checkpoint's weights into a detector, strictly.

    Args:
        detector: Built with the same architecture.
        checkpoint: Source of the weights.
        allow_new_classes: Whether class heads of another number of classes keep their fresh weights, as
            fine-tuning on another data set needs it.

    Returns:
        Names of the parameters that were left fresh.

    Raises:
        ValueError: Names are missing or unexpected, or shapes differ.
    """
    fresh = require_fitting_weights(detector, checkpoint, allow_new_classes=allow_new_classes)
    own = detector.state_dict()
    weights = {name: value for name, value in checkpoint.weights.items() if name not in fresh}
    _require_none(checkpoint, "not usable", unfit_numbers(own, weights))
    detector.load_state_dict(weights, strict=False)
    return fresh


def require_fitting_weights(
    detector: nn.Module, checkpoint: Checkpoint, *, allow_new_classes: bool = False
) -> list[str]:
    """Compare names and shapes of a checkpoint's weights with those of a detector, which may be without content.

    Args:
        detector: Built with the same architecture.
        checkpoint: Source of the weights.
        allow_new_classes: See ``load_weights``.

    Returns:
        Names of class heads of another number of classes.

    Raises:
        ValueError: Names are missing or unexpected, or shapes differ.
    """
    own = detector.state_dict()
    missing = sorted(own.keys() - checkpoint.weights.keys())
    unexpected = sorted(checkpoint.weights.keys() - own.keys())
    other_shape = [
        name for name in own.keys() & checkpoint.weights.keys() if own[name].shape != checkpoint.weights[name].shape
    ]
    fresh = [name for name in sorted(other_shape) if allow_new_classes and any(part in name for part in _OF_CLASSES)]
    wrong = sorted(set(other_shape) - set(fresh))
    _require_none(checkpoint, "missing", missing)
    _require_none(checkpoint, "unexpected", unexpected)
    _require_none(checkpoint, "of another shape", wrong)
    return fresh


def _require_none(checkpoint: Checkpoint, what: str, names: list[str]) -> None:
    if names:
        some = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        raise ValueError(f"{checkpoint.path} does not fit the model: {counted(len(names), 'weight')} {what}: {some}")
