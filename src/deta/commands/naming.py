"""Names of run directories, made of the configuration alone: the same experiment always has the same place."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

WITHOUT_EFFECT = (
    "hydra",
    "sweep",
    "cluster",
    "paths",
    "logger",
    "name",
    "ckpt",
    "run_dir",
    "callbacks.best",
    "callbacks.resume",
    "callbacks.pictures",
    "callbacks.progress",
    "callbacks.learning_rate",
    "callbacks.non_finite",
    "data.root",
    "data.cache",
    "data.num_workers",
    "data.check_files",
    "trainer.accelerator",
    "trainer.benchmark",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.num_sanity_val_steps",
)
"""Keys that decide where and how a run is done, not what comes out."""
FIRST = "criterion."
"""What this platform is for stands first in a name."""
NUM_NAMED = 6
_MISSING = object()


def register_resolvers() -> None:
    """Let configurations use ``${run_name:}``."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def run_name(*, _root_: DictConfig) -> str:
    """Readable differences to the plain experiment and a hash of the configuration, such as ``tau0.5-s0-9b329e13``.

    The order of overrides and values written out that are the default change nothing.
    """
    own = effective(_root_)
    choices = _root_.hydra.runtime.choices
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    plain_choices, before = _plain_experiment(hydra, choices.get("experiment"))
    groups = sorted(
        str(group)
        for group, choice in choices.items()
        if not str(group).startswith("hydra")
        and choice != plain_choices.get(group)
        and not _is_below(_path_of(str(group)), WITHOUT_EFFECT)
    )
    parts = [str(choices[group]).rpartition("/")[2] for group in groups]
    chosen = tuple(_path_of(group) for group in groups)
    changed = {
        key: value for key, value in _leaves(own) if value != before.get(key, _MISSING) and not _is_below(key, chosen)
    }
    named = {key: value for key, value in changed.items() if key != "seed" and not _follows(key, value, changed)}
    parts += _short_names(named)
    if len(parts) > NUM_NAMED:
        parts = [*parts[: NUM_NAMED - 1], f"and{len(parts) - NUM_NAMED + 1}"]
    digest = hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join([*parts, f"s{_root_.seed}", digest]))


def effective(cfg: DictConfig) -> dict[str, Any]:
    """The part of a composed configuration that decides the result, resolved, as nested dictionaries.

    Folders of ``paths`` are named, not spelt out: another machine gives the same.
    """
    folders = {str(folder): f"${{paths.{name}}}" for name, folder in cfg.paths.items()}
    content: dict[str, Any] = _plain(cfg, "", folders)
    return content


def _plain(node: Any, key: str, folders: Mapping[str, str]) -> Any:  # noqa: ANN401
    if isinstance(node, DictConfig):
        names = {str(name): f"{key}.{name!s}" if key else str(name) for name in node}
        return {
            name: "???" if OmegaConf.is_missing(node, name) else _plain(node[name], path, folders)
            for name, path in names.items()
            if path not in WITHOUT_EFFECT
        }
    if isinstance(node, ListConfig):
        return [_plain(item, key, folders) for item in node]
    if isinstance(node, str):
        for folder, name in folders.items():
            if node.startswith(f"{folder}/"):
                return name + node.removeprefix(folder)
    return node


@lru_cache(maxsize=8)
def _plain_experiment(hydra: Hydra, experiment: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Choices and values of the experiment without any other override; all runs of a sweep are compared with it."""
    overrides = [] if experiment is None else [f"experiment={experiment}"]
    plain = hydra.compose_config("train", overrides, run_mode=RunMode.RUN, with_log_configuration=False)
    return dict(plain.hydra.runtime.choices), dict(_leaves(effective(plain)))


def _path_of(group: str) -> str:
    """Where a group's choice stands in the configuration: ``assigner@criterion.layer_assigner`` is at its target."""
    name, _, target = group.partition("@")
    return target.removeprefix("_global_.") if target else name.replace("/", ".")


def _is_below(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def _follows(key: str, value: object, changed: Mapping[str, Any]) -> bool:
    """Whether another changed key of the same name and value stands higher, of which this one is a copy."""
    name, depth = key.rpartition(".")[2], key.count(".")
    return any(
        other.rpartition(".")[2] == name and other.count(".") < depth and changed[other] == value for other in changed
    )


def _short_names(values: Mapping[str, Any]) -> list[str]:
    """``tau0.5`` for ``criterion.layer_assigner.tau=0.5``, with the node before it where two keys end alike."""
    names = [key.rpartition(".")[2] for key in values]
    short = []
    for (key, value), name in zip(values.items(), names, strict=True):
        label = ".".join(key.split(".")[-2:]) if names.count(name) > 1 else name
        short.append(f"{label}{_text(value)}")
    return [label for _, label in sorted(zip([not key.startswith(FIRST) for key in values], short, strict=True))]


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
