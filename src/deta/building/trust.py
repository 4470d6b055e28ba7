"""What a user trusts: names that ``trusted=`` gives, and what he has started himself where it lies.

The second is kept outside of the run, in the state folder of the user: a copied or unpacked directory cannot bring
it along.
"""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from deta.utils.files import home_folder, write_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trust:
    """Names of classes that a file may build beside the shipped ones.

    Attributes:
        source: The file or run, for messages.
        names: Dotted names of classes, and prefixes that end in a dot.
    """

    source: Path
    names: tuple[str, ...] = ()

    def covers(self, target: str) -> bool:
        """Whether a dotted name is one of the names or below a prefix."""
        return any(target.startswith(name) if name.endswith(".") else target == name for name in self.names)

    def resolve(self, target: str) -> type:
        """The class behind a name that is covered.

        Raises:
            ValueError: There is none, or it is not the public class of that name.
        """
        if not is_public(target):
            raise ValueError(f"{self.source} names {target}, which is no public class")
        try:
            found = resolve_name(target)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.source} names {target}, which cannot be imported ({error})") from error
        if not isinstance(found, type):
            raise ValueError(f"{self.source} names {target}, which is no class: a file builds nothing else")
        if _root(found.__module__) != _root(target):
            raise ValueError(f"{self.source} names {target}, which {_root(target)} has from {found.__module__}")
        return found


def require_names(trusted: Any) -> tuple[str, ...]:  # noqa: ANN401 - what the command line gave
    """The value of ``trusted`` as names.

    Raises:
        ValueError: It is no list of dotted names of classes, or prefixes that end in a dot, outside Python's library.
    """
    is_list = isinstance(trusted, Iterable) and not isinstance(trusted, str)
    names = tuple(str(name) for name in trusted) if is_list else ()
    if not is_list or not all("." in name and is_public(name.removesuffix(".")) for name in names):
        raise ValueError(
            "trusted must be a list of classes, such as [mine.MyBackbone], or of packages that end in a dot, such as "
            f"[mine.], got {trusted}"
        )
    of_python = [name for name in names if _root(name) in sys.stdlib_module_names]
    if of_python:
        raise ValueError(f"trusted must name classes of a detector, and {of_python[0]} belongs to Python's own library")
    return names


def is_public(target: str) -> bool:
    """Whether every part of a dotted name is an identifier without an underscore before it."""
    return all(part.isidentifier() and not part.startswith("_") for part in target.split("."))


def may_be_of_the_user(target: str) -> bool:
    """Whether a name looks like that of a class that somebody wrote for a detector."""
    is_foreign = _root(target) not in (*sys.stdlib_module_names, "deta", "deta_kernels")
    return is_foreign and "." in target and is_public(target) and target.rpartition(".")[2][0].isupper()


def remember(run: Path, things: Iterable[str]) -> None:
    """Note that this user has himself asked for these words or classes in a run directory, which need not exist.

    A state folder that cannot be written is a warning: it costs a ``trusted=`` later.
    """
    known = set(remembered(run))
    new = set(things)
    if new <= known:
        return
    try:
        path = _record(run)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, {"run": str(run.resolve()), "trusted": sorted(known | new)})
    except OSError as error:
        _log.warning(
            "%s: that you started this run yourself cannot be noted (%s): continue it with trusted=", run, error
        )


def remembered(run: Path) -> Sequence[str]:
    """What this user has asked for in this very place; empty where the directory belongs to somebody else."""
    try:
        path = _record(run)
        if path.stat().st_uid != os.getuid() or (run.exists() and run.stat().st_uid != os.getuid()):
            return ()
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ()  # a record that is missing or damaged trusts nothing
    if not isinstance(content, dict) or content.get("run") != str(run.resolve()):
        return ()
    things = content.get("trusted")
    return [thing for thing in things if isinstance(thing, str)] if isinstance(things, list) else ()


def _record(run: Path) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or home_folder() / ".local" / "state"
    return Path(state) / "deta" / "runs" / f"{hashlib.sha256(os.fsencode(run.resolve())).hexdigest()}.json"


def _root(target: str) -> str:
    return target.partition(".")[0]
