"""Hydra's loader of configurations, which refuses an override that cannot be meant before anything reads it."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf._utils import split_key

from deta.console.config_files import ConfigFiles
from deta.console.meant import either, meant_choices, meant_keys
from deta.console.quoting import PATH_KEYS
from deta.console.words import SEARCH_PATH
from deta.runs.former import former_names, present_argument, present_key
from deta.studies.settings import leaves
from deta.utils.names import shown

HOW_BUILT = ("_partial_", "_recursive_", "_convert_", "_args_")
"""Keys by which a node says how it is built; the code that builds it relies on them."""

OF_SEVERAL = ("callbacks", "compare", "further", "logger")
"""Groups of which any number is chosen: further=[copies,denoise], callbacks=[early_stopping,ema]."""
TOP_GROUPS = ("experiment", "system", "size", "rule", "data", "sweep", "search")
"""Groups that people name first; a choice of one of them that is given to another group is told."""


class Loader(ConfigLoaderImpl):
    """Checks every override: a group takes names of choices, keys exist, and a part stays a part.

    Attributes:
        defaults: The files of the latest composition, in their order.
    """

    _kept: tuple[list[str], DictConfig] | None = None

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = ConfigFiles(config_search_path)

    def keep(self, cfg: DictConfig, overrides: Sequence[str], mode: RunMode) -> None:
        """Use the latest composition once more, in place of one of the same words, which takes as long as that one.

        Args:
            cfg: That composition.
            overrides: Its words, which may be followed by one of the mode, ``hydra.mode=...``.
            mode: Of the run.
        """
        if self._needs_validation or MISSING in as_written(cfg.hydra.runtime.choices).values():
            return  # what is refused of a run may have been let pass
        if cfg.hydra.mode != mode:
            cfg.hydra.mode = mode
            cfg.hydra.overrides.hydra.append(overrides[-1])
        self._kept = [*overrides], cfg

    def choices(self, config_name: str, words: Iterable[str], group: str) -> list[str]:
        """Names in a group, of folders that a command line adds to the search path, too."""
        paths = [word for word in words if word.lstrip("+").startswith(SEARCH_PATH)]
        _, repository = super()._parse_overrides_and_create_caching_repo(config_name, paths)
        return [*repository.get_group_options(group, ObjectType.CONFIG)]

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """The composition of these words, or the one that was kept of them."""
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == overrides:
            return kept[1]
        cfg: DictConfig = super().load_configuration(
            config_name, overrides, run_mode, from_shell, validate_sweep_overrides
        )
        return cfg

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, repository = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        self._of_values = []
        self._needs_validation = any(override.is_sweep_override() for override in parsed)
        for override in parsed:
            if not override.key_or_group:
                raise _refusal(override, "an override is key=value")
            if override.package is not None or repository.group_exists(override.key_or_group):
                _require_choices(override, repository)
            else:
                self._of_values.append(override)
        return parsed, repository

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        cfg: DictConfig = super()._compose_config_from_defaults_list(defaults, repo)
        self.defaults = defaults
        written = as_written(cfg)
        _require_present_names(written)
        groups = [str(default.override_key) for default in defaults if default.override_key is not None]
        groups += repo.get_group_options("", ObjectType.GROUP)
        known = [*(group for group in groups if not group.startswith("hydra")), *map(str, cfg)]
        known += [key for key, _ in values_as_written(cfg)]
        for override in self._of_values:
            _put_present_argument(override, written)
            _require_fitting(override, cfg, known)
            _require_reader(override, cfg, self._of_values, known)
        return cfg


def as_written(node: DictConfig) -> dict[str, Any]:
    """As it is written: values that must still be given are ``???``, references are not followed."""
    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def values_as_written(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values as they are written, the keys of the top first; those of Hydra are left out."""
    own = {key: value for key, value in as_written(cfg).items() if key != "hydra"}
    yield from ((key, value) for key, value in own.items() if not isinstance(value, Mapping) or not value)
    for key, value in own.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)


def _require_present_names(written: Mapping[str, Any]) -> None:
    """The files alone, before any override, have no key or class under a former name; those shipped have none."""
    names = former_names(written)
    if names:
        told = ", ".join(f"{former} is {present}" for former, present in names.items())
        raise ConfigCompositionException(f"a configuration file of yours has former names (docs/moved.md): {told}")


def _put_present_argument(override: Override, written: Mapping[str, Any]) -> None:
    """Let an override speak of an argument by its present name, which the class decides that its part makes here."""
    present = present_argument(written, override.key_or_group)
    if present != override.key_or_group:
        before = override.input_line
        override.input_line = str(before).replace(override.key_or_group, present, 1)
        override.key_or_group = present
        print(f"deta: written otherwise by now: {before} is {override.input_line}", file=sys.stderr)


def _values(override: Override) -> Iterator[Any]:
    """The values that an override names: several in a sweep, none where it deletes a key or names a pattern."""
    if override.value_type in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP):
        yield from (Override._convert_value(value) for value in override.sweep_iterator())
    elif not (override.is_sweep_override() or (override.is_delete() and override.value() is None)):
        yield override.value()


def _require_choices(override: Override, repository: IConfigRepository) -> None:
    group, chosen = override.key_or_group, _values(override)
    if group in OF_SEVERAL:
        chosen = chain.from_iterable(value if isinstance(value, list) else [value] for value in chosen)
    for value in chosen:
        if isinstance(value, str) and ("${" in value or repository.config_exists(f"{group}/{value}")):
            continue
        choices = sorted(repository.get_group_options(group, ObjectType.CONFIG))
        name = override.get_key_element().lstrip("+~")
        if isinstance(value, dict) and value:
            key, setting = next(leaves(value, name))
            raise _refusal(override, f"its settings are given one by one, such as {present_key(key)}={setting}")
        likely = [f"{name}={choice}" for choice in meant_choices("" if value is None else str(value), choices)]
        likely = likely or [f"{other}={value}" for other in _groups_with(value, repository)]
        if likely:
            raise _refusal(override, f"did you mean {either(likely)}? (--help {name} lists its choices)")
        raise _refusal(override, f"it takes the name of one of its choices: {', '.join(choices) or 'none'}")


def _groups_with(value: Any, repository: IConfigRepository) -> Iterator[str]:  # noqa: ANN401 - a parsed value
    """Groups at the top of a command that have such a choice."""
    if isinstance(value, str) and value.isidentifier():
        yield from (name for name in TOP_GROUPS if repository.config_exists(f"{name}/{value}"))


def _require_fitting(override: Override, cfg: DictConfig, known: Iterable[str]) -> None:
    """The key of an override exists unless it is to be added, and its value can stand there."""
    *_, last = split_key(override.key_or_group)
    if last in HOW_BUILT:
        raise _refusal(override, f"{last} says how a part is built, which is no setting")
    if override.key_or_group == "run_dir":
        raise _refusal(override, "it follows the directory of the run: hydra.run.dir=<folder>")
    if last == "_target_" and override.is_delete():
        raise _refusal(override, "without the name of its class a part cannot be built; null in place of the part")
    for value in _values(override):
        is_path = override.key_or_group in PATH_KEYS
        is_flag = isinstance(value, bool) and override.key_or_group.endswith(".weights")  # those of a package's own
        if is_path and not (isinstance(value, str) or is_flag or (value is None and last != "dir")):
            raise _refusal(override, "it takes the path of a file or folder")
        if value == "":
            raise _refusal(override, f"it has no value: give {override.key_or_group}=<value>, or null for none")
        if last == "_target_" and not isinstance(value, str):
            raise _refusal(override, "it takes the dotted name of a class, such as deta.assign.IoUAssigner")
    node, is_known = _find(override, cfg, known)
    if is_known and isinstance(node, DictConfig):
        _require_mapping(override, node)


def _require_reader(override: Override, cfg: DictConfig, others: Iterable[Override], known: Iterable[str]) -> None:
    """What is added at the top has an effect only where a value refers to it."""
    first = split_key(override.key_or_group)[0]
    if first in cfg._content or override.is_delete():  # type: ignore[operator]  # a dictionary: the whole configuration
        return
    texts = [OmegaConf.to_yaml(cfg), *(str(each.input_line) for each in others)]
    if not any(re.search(rf"\$\{{[^}}]*\b{re.escape(first)}\b", text) for text in texts):
        raise _refusal(override, f"nothing reads {shown(first)}: {_unknown_key(override, first, cfg, [], known)}")


def _find(override: Override, cfg: DictConfig, known: Iterable[str]) -> tuple[Any, bool]:
    """The node that an override changes, and whether there is one that can be seen before references are resolved."""
    node: Any = cfg
    passed: list[str] = []
    for name in split_key(override.key_or_group):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return None, False
        if name not in node._content:  # type: ignore[operator]  # a dictionary: it is no special value
            if not (override.is_add() or override.is_force_add()):
                raise _refusal(override, _unknown_key(override, name, node, passed, known))
            return None, False
        node = node._get_node(name)
        passed.append(name)
        if isinstance(node, DictConfig) and node._is_none() and not all(value is None for value in _values(override)):
            raise _refusal(override, f"{'.'.join(passed)} is null, which a configuration file alone can change")
    is_plain = isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation())
    return node, is_plain


def _unknown_key(override: Override, name: str, node: DictConfig, passed: list[str], known: Iterable[str]) -> str:
    """What a key may have meant, or else what stands in its place.

    Args:
        override: The word.
        name: The first part of its key that does not exist.
        node: Where it does not.
        passed: The parts before it.
        known: Every key and group of the configuration.
    """
    key, where = override.key_or_group, ".".join(passed)
    present = present_key(key)
    likely = [present] if present != key else meant_keys(key, known)
    added = f" (+{key}=... adds one)" if passed else ""  # at the top nothing would read it
    told = f"{where or 'the configuration'} has no key {shown(name)}; "
    if likely:
        return f"{told}did you mean {either(likely)}?{added}"
    names = [str(each) for each in node if not str(each).startswith("_") and not (each == "hydra" and not passed)]
    return f"{told}its keys: {', '.join(names) or 'none'}{added}"


def _require_mapping(override: Override, node: DictConfig) -> None:
    """What has keys of its own keeps them: its overrides merge."""
    for value in _values(override):
        if isinstance(value, dict) and (value or not len(node)):
            continue
        if value is None:
            continue
        key = override.key_or_group
        inner = ", ".join(f"{key}.{name}" for name in list(node)[:4]) or f"+{key}.<name>"
        reason = "an empty {} changes nothing" if isinstance(value, dict) else "it has keys of its own"
        raise _refusal(override, f"{reason}: set one of them, such as {inner}, or give null for none")


def _refusal(override: Override, reason: str) -> ConfigCompositionException:
    return ConfigCompositionException(f"{shown(override.input_line)}: {reason}")


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if str(name).startswith("_"):
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value
