"""One hostile input tried on the code that reads it, and what became of it."""

import traceback
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Protocol

from deta.console.terminal import USER_ERRORS, describe


class Outcome(StrEnum):
    """What became of an input."""

    CLEAN = "clean"
    ACCEPTED = "accepted"
    NAMELESS = "nameless"
    NONSENSE = "nonsense"
    UNCAUGHT = "uncaught"
    HANG = "hang"
    DIED = "died"


FINE = (Outcome.CLEAN, Outcome.ACCEPTED)


@dataclass(frozen=True)
class Case:
    """An input.

    Attributes:
        title: What was done to a sound one.
        content: Of the file that is read.
        names: Any of these in a message says where the fault lies, beside the name of the file.
    """

    title: str
    content: bytes
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of a case, and the message or the reason."""

    outcome: Outcome
    detail: str


class Kind(Protocol):
    """A family of inputs.

    Attributes:
        name: On the command line.
        suffix: Of the file.
        seconds: After which an input counts as one that hangs.
    """

    name: str
    suffix: str
    seconds: float

    def make(self, random: Random) -> Case:
        """Draw an input; the same numbers give the same one."""
        ...

    def check(self, path: Path, case: Case) -> str | None:
        """Read it as the product does.

        Returns:
            What is wrong with what was accepted; None where it is what an independent reading says.

        Raises:
            Exception: Whatever the product raises.
        """
        ...


def draw(kind: Kind, seed: int, number: int) -> Case:
    """The case of this number."""
    return kind.make(Random(f"{kind.name}:{seed}:{number}"))


def judge(kind: Kind, case: Case, folder: Path) -> Verdict:
    """Try a case on a file in ``folder``."""
    path = folder / f"hostile{kind.suffix}"
    path.write_bytes(case.content)
    try:
        fault = kind.check(path, case)
    except USER_ERRORS as error:
        message = describe(error)
        is_named = any(name in message for name in (path.name, *case.names))
        return Verdict(Outcome.CLEAN if is_named else Outcome.NAMELESS, message)
    except Exception as error:  # of any kind: this is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict(Outcome.UNCAUGHT, f"{type(error).__name__} at {Path(place.filename).name}:{place.name}: {error}")
    return Verdict(Outcome.ACCEPTED, "") if fault is None else Verdict(Outcome.NONSENSE, fault)
