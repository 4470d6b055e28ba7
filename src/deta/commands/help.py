from collections.abc import Sequence

from hydra._internal.hydra import Hydra


def print_help(hydra: Hydra, name: str, words: Sequence[str]) -> None:
    pass
