"""Names of run directories, made of the configuration alone: the same experiment always has the same place."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from deta.console.words import search_path_words
from deta.runs.cells import read_cells
from deta.runs.former import first_key, with_first_keys
from deta.studies import settings
from deta.studies.settings import ABSENT, MISSING, by_reference, differences, is_below, leaves, without_effect
from deta.utils.names import short_keys

FIRST = "criterion."
"""What this platform is for stands first in a name."""
LENGTH = 60
"""Most letters of a name."""
LONGEST_VALUE = 20
"""Letters of a value in a name."""
NUM_DIGITS = 8
"""Of the hash at the end of a name, which alone identifies a run."""


def register_resolvers() -> None:
    """Let configurations use ``${run_name:}``, ``${experiment_name:}`` and ``${num_devices:...}``."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
    OmegaConf.register_new_resolver("num_devices", num_devices, replace=True)


def experiment_name(*, _root_: DictConfig) -> str:
    """The experiment, or the system and its size where none was chosen, such as ``deformable_detr_shapes``."""
    hydra: Any = _root_.get("hydra") or HydraConfig.get()  # which a job has no longer in its own configuration
    choices = hydra.runtime.choices
    experiment = choices.get("experiment")
    return f"{choices.system}_{choices.size}" if experiment is None else str(experiment)


def num_devices(devices: object) -> int:
    """Devices of a node that a value of ``trainer.devices`` names; 1 for ``auto``, which names none."""
    if isinstance(devices, ListConfig):
        return len(devices)
    return devices if isinstance(devices, int) else 1


def run_name(*swept: str, _root_: DictConfig) -> str:
    """What a run is called in the folder of its sweep, such as ``tau0.5-s0-9b329e13``.

    First what is swept, then what else differs from the plain experiment as far as there is room, the seed, and a hash
    of all that decides the result and of all that is swept. The order of overrides and values written out that are the
    default change nothing; a run that lies there under another name with the same hash keeps that.

    Args:
        *swept: Keys and groups of the sweep; they are named also where they have the value of the plain experiment.
        _root_: The configuration of the run.
    """
    choices = _root_.hydra.runtime.choices
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    search_path, experiment = tuple(search_path_words(_root_.hydra)), choices.get("experiment")
    plain = _plain_experiment(hydra, experiment, search_path)
    own = _in_numbers_of(plain.effective, effective(_root_))
    different = differences(plain.effective, own)
    given = {word.partition("=")[0].lstrip("+"): word for word in map(str, _root_.hydra.overrides.task)}
    chosen = {name: word for name, word in given.items() if name in choices and name != "experiment"}
    changed_groups = {group for group in chosen if choices[group] != plain.choices.get(group)}
    seen_groups = {group for group in changed_groups if _is_shown(group, own, different)}
    groups = sorted(seen_groups | {group for group in swept if group in choices})
    values = {key: OmegaConf.select(_root_, key) for key in swept if key not in choices}
    as_chosen = _plain_experiment(hydra, experiment, (*search_path, *chosen.values())) if chosen else plain
    changed = {
        key: value
        for key, (_, value) in differences(as_chosen.effective, own).items()
        if value is not ABSENT and not _is_copy(_root_, key)
    }
    labels = {group: str(choices[group]).rpartition("/")[2] for group in groups} | _short_names({**changed, **values})
    ordered = sorted(
        labels, key=lambda key: (key not in swept, key not in groups, not key.startswith(FIRST), labels[key])
    )
    unseen = {first_key(key): value for key, value in values.items() if _is_unseen(key, value, plain)}
    unseen |= {first_key(group): choices[group] for group in groups if group in changed_groups - seen_groups}
    identity = {**own, "swept": unseen} if unseen else own
    name = _join([labels[key] for key in ordered], _root_.seed, identity)
    folder = OmegaConf.select(_root_, "hydra.sweep.dir", throw_on_resolution_failure=False)
    return name if folder is None else known_name(Path(folder), name)


def cell_name(factors: Mapping[str, str], cfg: DictConfig) -> str:
    """As ``run_name``, with the levels of a study's cell in place of the differences to the plain experiment."""
    return _join([f"{axis}.{level}" for axis, level in factors.items()], cfg.seed, effective(cfg))


def known_name(folder: Path, name: str) -> str:
    """The name under which a run lies in a folder, or is listed there, already: the one with the same hash."""
    names = [*read_cells(folder), *(path.name for path in (folder.iterdir() if folder.is_dir() else ()))]
    end = name[-NUM_DIGITS - 1 :]
    return next((known for known in sorted(names) if known.endswith(end)), name)


def _join(labels: Sequence[str], seed: object, identity: Mapping[str, Any]) -> str:
    """A name that every file system takes: as many of the labels as there is room for, and the first at any rate."""
    end = f"s{seed}-{_digest(with_first_keys(identity))}"
    room = LENGTH - len(end)
    text = ""
    for label in labels:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", label)
        if len(text) + len(safe) + 1 <= room:
            text += f"{safe}-"
        elif not text:
            text = f"{safe[: room - 1]}-"
    return text + end


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:NUM_DIGITS]


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
            if path not in without_effect()
        }
    return [_plain(item, key) for item in node] if isinstance(node, ListConfig) else node


@dataclass(frozen=True)
class _Plain:
    """An experiment without any other override: its choices of groups, its configuration, and what of it has effect."""

    choices: Mapping[str, Any]
    cfg: DictConfig
    effective: Mapping[str, Any]


@lru_cache(maxsize=32)
def _plain_experiment(hydra: Hydra, experiment: str | None, words: tuple[str, ...]) -> _Plain:
    """The experiment with nothing but these words: all runs of a sweep are compared with it."""
    overrides = [*words, *([] if experiment is None else [f"experiment={experiment}"])]
    plain = hydra.compose_config("train", overrides, run_mode=RunMode.RUN, with_log_configuration=False)
    return _Plain(dict(plain.hydra.runtime.choices), plain, effective(plain))


def _is_unseen(key: str, value: object, plain: _Plain) -> bool:
    """Whether a swept key has another value than the experiment and none of the results shows it, as a folder does."""
    is_seen = any(is_below(name, (key,)) or is_below(key, (name,)) for name, _ in leaves(plain.effective))
    return not is_seen and value != OmegaConf.select(plain.cfg, key)


def _in_numbers_of(plain: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, with ``1`` as ``1.0`` where the experiment has such a number."""
    return {name: _in_number_of(plain.get(name), value) for name, value in own.items()}


def _in_number_of(plain: object, value: Any) -> Any:  # noqa: ANN401 - a value of any depth
    if isinstance(value, Mapping):
        return _in_numbers_of(plain if isinstance(plain, Mapping) else {}, value)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_integer and isinstance(plain, float) else value


def _path_of(group: str) -> str:
    """Where a group's choice stands in the configuration: that of ``backbone@model.backbone`` is at its target."""
    name, _, target = group.partition("@")
    return target.removeprefix("_global_.") if target else name.replace("/", ".")


def _is_shown(group: str, own: Mapping[str, Any], different: Iterable[str]) -> bool:
    """Whether what a group's choice changes can be seen: below its place, or anywhere for one that sets many places."""
    place = _path_of(group)
    top = place.partition(".")[0]
    sets_many = top not in own and (top not in without_effect() or top in by_reference())
    return any(sets_many or is_below(key, (place,)) for key in different)


def _is_copy(cfg: DictConfig, key: str) -> bool:
    """Whether a value follows another one by ``${...}``, at it or at what it stands in, which is named itself."""
    node: Any = cfg
    for name in key.split("."):
        if not isinstance(node, DictConfig) or name not in node:
            return False
        if OmegaConf.is_interpolation(node, name):
            written: Any = OmegaConf.to_container(node, resolve=False)
            return str(written[name]).strip("${}") not in by_reference()
        node = node[name]
    return False


def _short_names(values: Mapping[str, Any]) -> dict[str, str]:
    """``tau0.5`` for ``criterion.rules.layers.assigner.tau=0.5``; the seed has a place of its own."""
    names = short_keys(key for key in values if key != "seed")
    return {key: f"{name}{_text(values[key])}" for key, name in names.items()}


def _text(value: object) -> str:
    """A number or word as it is, of a path its end, of anything longer a hash."""
    if isinstance(value, float):
        return f"{value:g}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)  # as it is written: null, true, false
    text = str(value).rstrip("/").rpartition("/")[2]
    is_plain = isinstance(value, (str, int)) and len(text) <= LONGEST_VALUE
    return text if is_plain else f"_{_digest({'value': value})[:4]}"
