"""Checkpoint files: written whole or not at all; read for their weights and what builds the detector again."""

import logging
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from deta.engine.module import CHECKPOINT_KEY
from deta.engine.runs import LAST, PREVIOUS
from deta.engine.tensor_files import save_tensors
from deta.utils.unpickling import unpickling_reason

_log = logging.getLogger(__name__)

DETECTOR_PREFIX = "detector."


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name in the same folder, syncs it and renames it.

    Lightning's own way stages the file in ``TMPDIR``, and where that is another file system a killed process leaves
    half a checkpoint.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401 - as Lightning declares it
    ) -> None:
        """Write ``checkpoint`` to ``path``, a local file; ``storage_options`` is not used."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(checkpoint, path)


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
    what = f"holds no checkpoints/{name}.ckpt" if path.is_dir() else "does not exist"
    raise FileNotFoundError(f"{path} {what}: give a checkpoint file or the directory of a run")


def find_resumable(path: str | Path) -> Path:
    """The checkpoint from which a run is continued: the file itself, or of a run the newest that can be read.

    Raises:
        FileNotFoundError: There is none.
        ValueError: What there is cannot be read.
    """
    newest = find_checkpoint(path, name="last")
    if Path(path).is_file():
        return newest
    candidates = [newest.with_name(name) for name in (LAST, PREVIOUS)]
    for candidate in (file for file in candidates if file.is_file()):
        try:
            _read(candidate)
        except ValueError as error:
            _log.warning("%s", error)
            continue
        if candidate.name != LAST:
            _log.warning("continuing from %s: the one after it is missing or damaged", candidate)
        return candidate
    raise ValueError(f"{path}: no checkpoint of this run can be read; remove the folder to start anew")


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running any code that it holds.

    Raises:
        FileNotFoundError: There is no such file or run.
        ValueError: The file is damaged, holds more than data, or is not a checkpoint of ours.
    """
    path = find_checkpoint(path)
    content = _read(path)
    if not isinstance(content, dict) or CHECKPOINT_KEY not in content or "state_dict" not in content:
        raise ValueError(f"{path} is not a deta checkpoint; deta convert reads published ones")
    metadata = content[CHECKPOINT_KEY]
    weights = {
        name.removeprefix(DETECTOR_PREFIX): value
        for name, value in content["state_dict"].items()
        if name.startswith(DETECTOR_PREFIX)
    }
    return Checkpoint(
        path=path,
        weights=weights,
        config=metadata["config"],
        category_ids=tuple(metadata["category_ids"]),
        category_names=tuple(metadata["category_names"]),
        exif=metadata.get("exif"),
    )


def _read(path: Path) -> Any:  # noqa: ANN401 - checked by its caller
    """The content of a file of plain data.

    Raises:
        ValueError: It is damaged or holds more than that.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint: damaged, of another format, or more than plain data "
            f"({unpickling_reason(error)})"
        ) from error


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
    own = detector.state_dict()
    missing = sorted(own.keys() - checkpoint.weights.keys())
    unexpected = sorted(checkpoint.weights.keys() - own.keys())
    other_shape = [
        name for name in own.keys() & checkpoint.weights.keys() if own[name].shape != checkpoint.weights[name].shape
    ]
    fresh = [name for name in sorted(other_shape) if allow_new_classes and "class" in name]
    wrong = sorted(set(other_shape) - set(fresh))
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong)):
        if names:
            some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise ValueError(f"{checkpoint.path} does not fit the model: {len(names)} weights {what}: {some}")
    detector.load_state_dict(
        {name: value for name, value in checkpoint.weights.items() if name not in fresh}, strict=False
    )
    return fresh
