"""The data set that a configuration means, before anything is trained; nothing here imports PyTorch."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig

from deta.console.meant import meant_path
from deta.data.coco_json import require_annotation_file
from deta.data.fingerprint import fingerprint, recipe_fingerprint
from deta.data.shapes_recipe import ShapesRecipe
from deta.runs.data_record import SPLITS, DataRecord, read_data

_FILES = {"root", "train_annotations", "val_annotations"}

_log = logging.getLogger(__name__)


def configured_data(cfg: DictConfig) -> DataRecord | None:
    """Content of the annotations that ``deta train`` would read; None of a data module that is not of ours.

    Files are read once, see ``deta.data.fingerprint``; annotations of shards in an object store are fetched.

    Raises:
        OSError: A file is missing.
        ValueError: A file is no valid annotation file.
    """
    data = cfg.data
    if "recipe_seed" in data:
        recipe = ShapesRecipe(num_train=data.num_train, num_val=data.num_val, seed=data.recipe_seed)
        return DataRecord({str(name): recipe_fingerprint(recipe, name) for name in SPLITS})
    if not data.keys() >= _FILES:
        return None
    files = {name: _annotation_file(data, name) for name in SPLITS}
    cache, layout = Path(cfg.paths.cache), data.get("layout", "coco")
    found = {str(name): fingerprint(path, layout=layout, cache=cache) for name, path in files.items()}
    return DataRecord(found, {str(name): str(path.absolute()) for name, path in files.items()})


def require_data(cfg: DictConfig, splits: Iterable[str] = SPLITS) -> None:
    """Check that the annotations are there, as far as the configuration names them.

    Those of shards and of data modules that are not ours are not looked for.

    Args:
        cfg: Of a command that reads data.
        splits: Which it reads.

    Raises:
        FileNotFoundError: A file is missing.
    """
    data = cfg.data
    if not isinstance(data, DictConfig) or data.get("source") not in (None, "folder") or data.get("root") is None:
        return
    for name in splits:
        if data.get(f"{name}_annotations") is not None:
            path = _annotation_file(data, name)
            try:
                require_annotation_file(path)
            except FileNotFoundError as error:
                meant = meant_path(path)
                root = None if meant is None else meant_path(Path(data.root))
                if root:
                    advice = f"did you mean data.root={root}?"
                else:
                    advice = f"did you mean data.{name}_annotations={_inside(meant, Path(data.root))}?" if meant else ""
                raise FileNotFoundError(f"{error}; {advice}" if advice else str(error)) from error


def _inside(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def require_same_data(cfg: DictConfig, runs: Iterable[Path]) -> None:
    """Check that runs were trained with the data of a configuration; a log says of which this is not known.

    Args:
        cfg: The configuration.
        runs: Directories of runs that have trained.

    Raises:
        OSError: An annotation file is missing.
        ValueError: The data of a run are others; the message names both.
    """
    compare_data(cfg, {run: read_data(run) for run in runs})


def compare_data(cfg: DictConfig, known: Mapping[Path, DataRecord | None]) -> None:
    """``require_same_data`` of what is known of runs, or of checkpoints that lie alone."""
    now = configured_data(cfg) if any(record is not None for record in known.values()) else None
    for run, before in known.items():
        if before is None or now is None:
            _log.warning("%s: its data are not on record, so they are not compared with those of today", run)
        elif before != now:
            raise ValueError(
                f"{run} was trained with other data: {before.differences(now)}. Give the run its own data (data.root), "
                "or train in another folder"
            )


def _annotation_file(data: DictConfig, name: str) -> Path:
    if data.get("source") != "shards":
        return Path(data.root) / Path(data[f"{name}_annotations"])
    from deta.data.streaming.split import ShardedSplit
    from deta.data.streaming.store import below

    cache = Path() if data.shard_cache is None else Path(data.shard_cache)
    split = ShardedSplit(address=below(data.shards, name), cache=cache)
    split.prepare()
    return split.annotation_file
