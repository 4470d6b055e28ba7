"""Configurations of trainings that many tests ask for names of, each composed once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from deta.console.naming import register_resolvers
from deta.studies.conf import config_dir


@contextmanager
def kept_hydra() -> Iterator[None]:
    """The same Hydra every time: what names are compared with, the plain experiment, is kept with it."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        GlobalHydra.instance().hydra = _hydra()
        yield


@cache
def composed(*words: str) -> DictConfig:
    """A training with these words, inside ``kept_hydra``; nobody changes it."""
    return compose("train", list(words), return_hydra_config=True)


@cache
def _hydra() -> Hydra:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra
