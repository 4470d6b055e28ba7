"""Configurations of commands for a program that has no command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import DictConfig

from deta.console.application import VERSION_BASE, make_hydra
from deta.console.naming import register_resolvers
from deta.console.quoting import quote_paths
from deta.studies.conf import config_dir


@contextmanager
def own_hydra() -> Iterator[None]:
    """Leave what the program, or the command, itself does with Hydra as it was."""
    state = Singleton.get_state()
    others = {kind: one for kind, one in state["instances"].items() if kind not in (GlobalHydra, HydraConfig)}
    Singleton.set_state({**state, "instances": others})
    try:
        yield
    finally:
        Singleton.set_state(state)


def compose(name: str, words: Sequence[str]) -> DictConfig:
    """The configuration of a command with these words, without those of Hydra.

    Raises:
        hydra.errors.HydraException: A word does not fit.
    """
    with own_hydra():
        version.setbase(VERSION_BASE)
        register_resolvers()
        hydra = make_hydra(config_dir(), None)
        cfg: DictConfig = hydra.compose_config(
            name, quote_paths(words, is_sweep=False), run_mode=RunMode.RUN, with_log_configuration=False
        )
        return cfg
