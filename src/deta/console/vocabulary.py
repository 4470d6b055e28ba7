"""What can be said to a command: its groups of choices and its keys, with what their files say of them.

Nothing here imports Hydra: a completion takes it from its store.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """A group of choices.

    Attributes:
        choice: The present one as an override writes it, such as ``null`` or ``[many,copies]``.
        choices: All of them.
        comment: What the file that chooses says of it.
    """

    choice: str
    choices: tuple[str, ...]
    comment: str = ""


@dataclass(frozen=True)
class Key:
    """A key.

    Attributes:
        value: As it is written: ``???`` where it must still be given, references are not followed.
        comment: What its file says of it.
        is_own: Whether the command's own file has it, and not that of a choice.
    """

    value: str
    comment: str = ""
    is_own: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """What can be said to a command, for the choices that its words make.

    Attributes:
        head: What the file of the command says of it.
        groups: By name, such as ``backbone@model.backbone``, sorted.
        keys: By dotted key, those of the top first.
    """

    head: str
    groups: Mapping[str, Group]
    keys: Mapping[str, Key]
