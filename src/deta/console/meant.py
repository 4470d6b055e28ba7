"""What a mistyped key, choice or path may have meant."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from deta.utils.names import nearest

MOST = 3
"""Proposals at most."""
_ALMOST = 0.9
_ALIKE, _LAST_ALIKE = 0.6, 0.75
"""From which likeness on a part of a key is the one meant, where the others fit, and where they are not given."""
ELSEWHERE: Mapping[str, str] = {
    "accumulate": "trainer.accumulate_grad_batches",
    "amp": "trainer.precision",
    "batch": "data.batch_size",
    "checkpoint": "ckpt",
    "data_path": "data.root",
    "dataset": "data",
    "devices": "trainer.devices",
    "epochs": "trainer.max_epochs",
    "gpus": "trainer.devices",
    "iterations": "trainer.max_steps",
    "learning_rate": "optimizer.lr",
    "lr0": "optimizer.lr",
    "num_epochs": "trainer.max_epochs",
    "output_dir": "hydra.run.dir",
    "pretrained": "weights",
    "resume": "ckpt",
    "save_dir": "hydra.run.dir",
    "scheduler": "schedule",
    "steps": "trainer.max_steps",
    "wd": "optimizer.weight_decay",
    "workers": "data.num_workers",
}
"""What other programs call these keys."""


def meant_keys(name: str, known: Iterable[str]) -> list[str]:
    """Keys and groups of choices that a name may have meant, the likeliest first.

    In this order: those that end so (``lr``, ``backbone``), what other programs call them (``epochs``), the most
    similar one of the same depth (``optimzer.lr``), and those whose last part is most similar (``batchsize``).

    Args:
        name: What was given, without ``+`` or ``~``.
        known: Dotted keys, and groups as ``backbone@model.backbone``.
    """
    keys = [key for key in dict.fromkeys(known) if key != name]
    last = name.rpartition(".")[2]
    ending = [key for key in keys if key.partition("@")[0] == name or key.endswith(f".{name}")]
    if ending:
        return _least_deep(ending)
    if ELSEWHERE.get(name) in (*keys, "hydra.run.dir"):
        return [ELSEWHERE[name]]
    parts = name.split(".")
    scores = {key: _likeness(parts, key.split(".")) for key in keys if len(parts) > 1}
    best = max(scores, key=lambda key: scores[key], default="")
    if scores.get(best, 0) > 0:
        return [best]
    lasts = {key: key.partition("@")[0].rpartition(".")[2] for key in keys}
    found = nearest(last, set(lasts.values()), likeness=_LAST_ALIKE)
    return _least_deep([key for key in keys if lasts[key] == found])


def meant_choices(value: str, choices: Sequence[str]) -> list[str]:
    """Choices of a group that a value may have meant: one almost like it, those that begin so, or the most similar."""
    same = nearest(value, choices, likeness=_ALMOST)
    if same is not None:
        return [same]
    beginning = [choice for choice in choices if value and choice.startswith(value)]
    if beginning:
        return sorted(beginning, key=len)[:MOST]
    found = nearest(value, choices)
    return [] if found is None else [found]


def meant_path(path: Path) -> Path | None:
    """The file or folder with the most similar name where a path does not exist; None where there is none.

    The first part that does not exist is compared with what lies beside it; what is behind it must exist there.
    """
    parts = [path, *path.parents]
    missing = next((part for part in reversed(parts) if not _exists(part)), None)
    if missing is None:
        return None
    try:
        names = [each.name for each in missing.parent.iterdir()]
    except OSError:
        return None
    found = nearest(missing.name, names)
    meant = None if found is None else missing.parent / found / path.relative_to(missing)
    return meant if meant is not None and _exists(meant) else None


def either(names: Sequence[str]) -> str:
    """``a, b or c``."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _least_deep(keys: Sequence[str]) -> list[str]:
    depths = {key: key.partition("@")[0].count(".") for key in keys}
    return [key for key in keys if depths[key] == min(depths.values())][:MOST]


def _likeness(parts: Sequence[str], others: Sequence[str]) -> float:
    """Of two keys of equal depth each part of which is similar; else 0."""
    if len(parts) != len(others):
        return 0.0
    ratios = [1.0 if one == other else _ratio(one, other) for one, other in zip(parts, others, strict=True)]
    return sum(ratios) / len(ratios) if min(ratios) >= _ALIKE else 0.0


def _ratio(one: str, other: str) -> float:
    matcher = SequenceMatcher(a=one, b=other)
    return matcher.ratio() if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE else 0.0


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be read
        return False
