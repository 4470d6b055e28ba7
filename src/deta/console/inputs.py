"""Files that a command reads, looked for before packages are imported for seconds; nothing here imports PyTorch."""

from collections.abc import Sequence
from mimetypes import guess_type
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deta.console.catalogue import COMMANDS
from deta.console.meant import meant_path
from deta.utils.files import expanded
from deta.zoo import is_name

_NO_FILES = ("", "null", "auto")
_REMEDIES = {
    "ckpt": "give a checkpoint file or the directory of a run",
    "folder": "give the folder of a study or of runs",
}
_PATTERN = set("*?[")
_PICTURES = ("image/", "video/")
"""How kinds of files begin that are looked at."""
_SAY_WHAT = ("experiment", "system", "size", "data", "ckpt", "rule", "model")
"""First parts of the words that say what is trained, or on what."""


def require_inputs(command: str, cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse what does not exist, and a training of which nothing is said.

    Args:
        command: Such as ``data check``.
        cfg: Its configuration.
        words: Its overrides.

    Raises:
        FileNotFoundError: Something is missing; the message names what was probably meant.
        ValueError: A picture stands where the checkpoint does.
    """
    for key in COMMANDS[command].reads:
        first, _, split = key.partition(".")
        if first == "data":
            if cfg.get("from_file") is None:  # which says itself where its annotations are
                _require_data(cfg, split)
        else:
            _require_path(key, OmegaConf.select(cfg, key, throw_on_missing=False), Path(cfg.paths.runs))
    if command == "train" and not any(word.lstrip("+~").startswith(_SAY_WHAT) for word in words):
        _require_something(cfg)


def _require_path(key: str, value: object, runs: Path) -> None:
    """What may be the name of something else than a file, an address or a pattern is left to the command."""
    if not isinstance(value, str) or value in _NO_FILES or "://" in value:
        return
    if key == "source" and _PATTERN & set(value):
        return
    path = expanded(value)
    if path.exists():
        if key == "ckpt" and path.is_file() and (guess_type(path)[0] or "").startswith(_PICTURES):
            raise ValueError(
                f"{key}={value} is a picture or a video: the run or checkpoint comes first, then what is looked at"
            )
        return
    if key == "ckpt" and path.name == value and not is_name(value) and (runs / value / "checkpoints").is_dir():
        raise FileNotFoundError(f"{value} does not exist: did you mean {key}={runs / value}?")
    if not ("/" in value or path.suffix or key == "folder"):
        return
    meant = meant_path(path)
    told = (
        f"{'' if key in _REMEDIES else f'{key}='}{value} {'is not a folder' if key == 'folder' else 'does not exist'}"
    )
    remedy = f"did you mean {key}={meant}?" if meant is not None else _REMEDIES.get(key)
    raise FileNotFoundError(f"{told}: {remedy}" if remedy else told)


def _require_data(cfg: DictConfig, split: str) -> None:
    from deta.console.datasets import require_data  # it imports NumPy

    chosen = split or cfg.get("split")
    require_data(cfg, [chosen] if chosen in ("train", "val") else cfg.get("splits") or ("train", "val"))


def _require_something(cfg: DictConfig) -> None:
    """``deta train`` alone is a training on COCO, where that lies in its place."""
    root = Path(str(cfg.data.root))
    if not root.is_dir():
        raise FileNotFoundError(
            f"nothing says what to train, and {root} is not there: give experiment=<name>, such as "
            "experiment=deta_shapes (generated pictures, minutes on a CPU), or data.root=<folder of a data set>"
        )
