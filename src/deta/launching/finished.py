"""Whether a run that is done has anything left to train; nothing here imports PyTorch unless it must."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig

from deta.console.words import (
    complete_words,
    given_start,
    recorded_words,
    search_path_words,
    training_words,
)
from deta.launching.parts import changed_settings, last_config
from deta.runs.cells import known_words
from deta.runs.config import read_config, started_from
from deta.runs.state import LAST, has_checkpoint, read_done
from deta.studies.settings import told
from deta.utils.wording import counted, points

_NO_LIMIT = -1


def nothing_left(cfg: DictConfig, folder: Path) -> str | None:
    """What to tell of a run that is to be continued by name though its settings leave nothing to do.

    Args:
        cfg: Settings of the training.
        folder: The run directory.

    Returns:
        The message; None if there is something to do.
    """
    done = read_done(folder) if continues(cfg.ckpt, folder) else None
    if done is None or _evaluates_further(cfg, folder):
        return None
    remedy = _remedy(cfg, done)
    if remedy is None:
        return None
    step = done.get("step")
    steps = counted(step, "step") if isinstance(step, int) else "? steps"
    score = f", AP {points(done['AP'])}" if isinstance(done.get("AP"), float) else ""
    return f"{folder} is done ({steps}{score}): to train it further give {remedy}"


def require_something_left(cfg: DictConfig, start: str) -> None:
    """Refuse to start from a run that has done all that the settings ask for.

    Raises:
        ValueError: It has.
    """
    place = Path(start)
    run = place.parent.parent if place.name == LAST else place
    done = read_done(run)
    remedy = None if done is None else _remedy(cfg, done)
    if remedy is not None:
        raise ValueError(f"nothing is left to train from ckpt={start}, which is done: give {remedy}")


def _remedy(cfg: DictConfig, done: Mapping[str, Any]) -> str | None:
    """The settings by which there is something left; None where there is."""
    limits = [name for name in ("epoch", "step") if _is_reached(cfg.trainer, name, done)]
    return " and ".join(f"trainer.max_{name}s above {done[name]}" for name in limits) or None


def require_same_settings(cfg: DictConfig, folder: Path, hydra: Any) -> None:  # noqa: ANN401 - Hydra's node
    """Refuse to skip a run that is done where a command of other words asks for other settings.

    Where the words are those of the run, it is done, whatever a later version makes of them.

    Args:
        cfg: Settings of the command.
        folder: The run directory.
        hydra: Hydra's own part of them.

    Raises:
        ValueError: There are such settings.
    """
    words = recorded_words(folder)
    if words is None:
        return
    are_same = training_words(complete_words(hydra)) == training_words(words)
    if are_same and not search_path_words(hydra):  # where the user's own files stand, they may say something else now
        return
    before = last_config(folder)
    changes = {} if before is None else changed_settings(before, cfg)
    if changes:
        raise ValueError(
            f"{folder} is done, with other settings than these words have: {told(changes)}. Another "
            f"{'hydra.sweep.dir' if hydra.mode == RunMode.MULTIRUN else 'hydra.run.dir'}= trains with them from the "
            f"start, ckpt={folder} and more trainer.max_epochs go on with them"
        )


def another_start(ckpt: object, folder: Path) -> str | None:
    """The run or checkpoint outside of its own folder from which a run is to start; None where it is to start afresh.

    A run that has begun goes on by itself if the command is the one that has begun it.

    Returns:
        Its absolute path.

    Raises:
        FileExistsError: The folder holds a run that has started from something else.
    """
    start = started_from(ckpt, folder)
    if start is None:
        return None
    has_begun = has_checkpoint(folder) or (folder / "metrics.jsonl").exists() or read_done(folder) is not None
    if has_begun and first_start(folder) != start:
        raise FileExistsError(
            f"{folder} holds a run of its own, which ckpt={folder} continues: to start from {ckpt} name another folder"
        )
    return start


def first_start(folder: Path) -> str | None:
    """The run or checkpoint outside of its own folder from which a run has started, or is to; None if there is none."""
    path = folder / "config.yaml"
    if path.is_file():
        return started_from(read_config(path).get("ckpt"), folder)
    return started_from(given_start(known_words(folder) or ()), folder)


def continues(ckpt: Any, folder: Path) -> bool:  # noqa: ANN401 - of a command line
    """Whether a checkpoint is the end of this very run."""
    if not isinstance(ckpt, str):
        return False
    return Path(ckpt).resolve() in (folder.resolve(), (folder / "checkpoints" / LAST).resolve())


def _is_reached(trainer: DictConfig, name: str, done: Mapping[str, Any]) -> bool:
    """Whether a limit of the trainer was met already; one that is no number is for the trainer to refuse."""
    limit, count = trainer.get(f"max_{name}s"), done.get(name)
    return isinstance(limit, int) and isinstance(count, int) and limit != _NO_LIMIT and limit <= count


def _evaluates_further(cfg: DictConfig, folder: Path) -> bool:
    """Whether a selection of detections has no evaluation of the final weights yet."""
    if not cfg.get("evaluations"):
        return False
    from deta.evaluation import EVALUATIONS, read_evaluation  # which imports PyTorch

    return any(read_evaluation(folder / EVALUATIONS / str(name)) is None for name in cfg.evaluations)
