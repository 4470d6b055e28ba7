"""Names of run directories, made of the configuration alone: the same experiment always has the same place."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from deta.commands.words import given_words, search_path_words, word_parts
from deta.studies import settings
from deta.studies.settings import ABSENT, MISSING, WITHOUT_EFFECT, differences, is_below

FIRST = "criterion."
"""What this platform is for stands first in a name."""
NUM_NAMED = 6


def register_resolvers() -> None:
    """Let configurations use ``${run_name:}`` and ``${num_devices:...}``."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("num_devices", num_devices, replace=True)


def num_devices(devices: object) -> int:
    """Devices of a node that a value of ``trainer.devices`` names; 1 for ``auto``, which names none."""
    if isinstance(devices, ListConfig):
        return len(devices)
    return devices if isinstance(devices, int) else 1


def run_name(*swept: str, _root_: DictConfig) -> str:
    """Readable differences to the plain experiment and a hash of the configuration, such as ``tau0.5-s0-9b329e13``.

    The order of overrides and values written out that are the default change nothing.

    Args:
        swept: Keys that decide no result, such as ``data.root``, and tell the runs of a sweep apart all the same.
        _root_: The configuration.
    """
    own = effective(_root_)
    words = dict(word_parts(word) for word in given_words(_root_.hydra.overrides.task))
    chosen_places = {key: words[key] for key in swept}
    choices = _root_.hydra.runtime.choices
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    plain_choices, before = _plain_experiment(hydra, choices.get("experiment"), tuple(search_path_words(_root_.hydra)))
    different = differences(before, own)
    groups = sorted(
        str(group)
        for group, choice in choices.items()
        if choice != plain_choices.get(group) and any(is_below(key, (_path_of(str(group)),)) for key in different)
    )
    parts = [f"{key.rpartition('.')[2]}{Path(value).name}" for key, value in chosen_places.items()]
    parts += [str(choices[group]).rpartition("/")[2] for group in groups]
    chosen = tuple(_path_of(group) for group in groups)
    changed = {key: value for key, (_, value) in different.items() if value is not ABSENT and not is_below(key, chosen)}
    named = {key: value for key, value in changed.items() if key != "seed" and not _follows(key, value, changed)}
    parts += _short_names(named)
    if len(parts) > NUM_NAMED:
        parts = [*parts[: NUM_NAMED - 1], f"and{len(parts) - NUM_NAMED + 1}"]
    return _join([*parts, f"s{_root_.seed}", _digest({**own, "swept": chosen_places} if swept else own)])


def hidden_keys(cells: Sequence[tuple[Sequence[str], DictConfig]]) -> list[str]:
    """Keys of a sweep in which cells of one name differ, so that the name must tell them.

    Args:
        cells: Overrides and configuration of every cell.
    """
    by_name: dict[str, list[tuple[Mapping[str, str], Any]]] = {}
    for words, cfg in cells:
        content = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(content, dict)
        content.pop("hydra", None)
        by_name.setdefault(str(cfg.hydra.sweep.subdir), []).append((dict(word_parts(word) for word in words), content))
    different = [
        key
        for members in by_name.values()
        for first, second in combinations(members, 2)
        if first[1] != second[1]
        for key in first[0]
        if first[0][key] != second[0].get(key)
    ]
    return list(dict.fromkeys(different))


def cell_name(factors: Mapping[str, str], cfg: DictConfig) -> str:
    """As ``run_name``, with the levels of a study's cell in place of the differences to the plain experiment."""
    parts = [f"{axis}.{level}" for axis, level in factors.items()]
    return _join([*parts, f"s{cfg.seed}", _digest(effective(cfg))])


def _join(parts: Iterable[str]) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))


def _digest(own: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()[:8]


def effective(cfg: DictConfig) -> dict[str, Any]:
    """The part of a composed configuration that decides the result, resolved, as nested dictionaries."""
    content: dict[str, Any] = _plain(cfg, "")
    return settings.effective({**content, "paths": dict(cfg.paths)})


def _plain(node: Any, key: str) -> Any:  # noqa: ANN401 - a node of any depth
    """Resolved containers without what has no effect, which need not be resolvable."""
    if isinstance(node, DictConfig):
        names = {str(name): f"{key}.{name!s}" if key else str(name) for name in node}
        return {
            name: MISSING if OmegaConf.is_missing(node, name) else _plain(node[name], path)
            for name, path in names.items()
            if path not in WITHOUT_EFFECT
        }
    return [_plain(item, key) for item in node] if isinstance(node, ListConfig) else node


@lru_cache(maxsize=8)
def _plain_experiment(
    hydra: Hydra, experiment: str | None, search_path: tuple[str, ...]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Choices and values of the experiment without any other override; all runs of a sweep are compared with it."""
    overrides = [*search_path, *([] if experiment is None else [f"experiment={experiment}"])]
    plain = hydra.compose_config("train", overrides, run_mode=RunMode.RUN, with_log_configuration=False)
    return dict(plain.hydra.runtime.choices), effective(plain)


def _path_of(group: str) -> str:
    """Where a group's choice stands in the configuration: ``assigner@criterion.layer_assigner`` is at its target."""
    name, _, target = group.partition("@")
    return target.removeprefix("_global_.") if target else name.replace("/", ".")


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
