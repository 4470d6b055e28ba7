"""How commands talk to the terminal: one clear message for what a user can mend, a trace only on request."""

import logging
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from deta.console.extras import advice_on_missing
from deta.console.quoting import quoted
from deta.runs.former_words import present_default
from deta.utils.names import shown_lines

USER_ERRORS = (
    ValueError,
    OSError,
    ModuleNotFoundError,
    HydraException,
    OmegaConfBaseException,
    YAMLError,
)
WORKER_ERROR = re.compile(r"Caught \w+ in DataLoader worker process")
ERROR_LINE = re.compile(r"^[\w.]*(?:Error|Exception)\w*: ", re.MULTILINE)
"""The last line of a stack trace names the class of the error before its message."""
_OF_QUERIES = re.compile(r"Could not override '(rule|selection|classes|further)(?:/\w+)?'")
_INSTEAD = {
    "rule": "dense systems have their rule at assigner@criterion.rules.dense.assigner, those of regions at "
    "assigner@criterion.rules.first.assigner.assigner and assigner@criterion.rules.roi.assigner (docs/systems.md)",
    "selection": "a dense system selects nothing before postprocess=, one of regions by model.body.selection",
    "classes": "leave it out",
    "further": "leave it out",
}
"""What other systems have in its place."""
_MISPLACED = re.compile(r"Could not override '(.+)'\.\nDid you mean to override (.+)\?\n.*\+\1=(.*)")
_UNCHOSEN = re.compile(r"You must specify '(.+?)',.*\nAvailable options:\n((?:.|\n)+)")
_TWICE = re.compile(r"Multiple values for \w+@([\w.]+)\.")
"""What Hydra says of a group that stands elsewhere, of one without a choice, and of two choices for one place."""
_OWN_CODE = Path(__file__).parents[1]
TRACE_VARIABLE = "HYDRA_FULL_ERROR"
LIBRARY_NOISE = (
    ".*LeafSpec.*",  # Lightning 2.6 with torch 2.12 or newer
    ".*does not have many workers.*",  # reading is as fast as data.num_workers says
    ".*smaller than the logging interval.*",
    ".*not supported by the model summary.*",
    ".*`srun` command is available.*",  # cluster=sbatch submits, and a training on a login node is meant
    ".*exists and is not empty.*",  # deta train refuses the folder of another run
)
"""Warnings of Lightning that a user can do nothing about."""
_NO_NEWS = ("GPU available: False", "TPU available: False", "HPU available: False")
"""Begins of what Lightning says where all goes as asked."""


_usual_warning = warnings.formatwarning


def reports_errors(command: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn errors of the user's input into a message and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the trace."""

    @wraps(command)
    def guarded(cfg: DictConfig) -> None:
        calm_lightning()
        warnings.formatwarning = _as_message
        try:
            try:
                command(cfg)
            except user_errors() as error:
                if wants_trace():
                    raise
                exit_with(error)
        except (RuntimeError, EOFError) as error:  # PyTorch tells of a killed reader anywhere, even while we tell
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # once is enough
            failure = _reader_failure(error)
            if failure is None or wants_trace():
                raise
            exit_with(failure)

    return guarded


def user_errors() -> tuple[type[Exception], ...]:
    """The classes of errors that a user can mend; those of PyTorch's packages once a command has imported them."""
    if "lightning" not in sys.modules:
        return USER_ERRORS
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from deta.training.callbacks import NonFiniteLossError

    return (*USER_ERRORS, MisconfigurationException, NonFiniteLossError)


def say_loading() -> None:
    """Tell once, and on one rank, that what takes seconds has begun."""
    if "torch" not in sys.modules and os.environ.get("LOCAL_RANK", "0") == os.environ.get("SLURM_LOCALID", "0") == "0":
        print("deta: loading PyTorch ...", file=sys.stderr, flush=True)


def wants_trace() -> bool:
    """Whether the user has asked for stack traces."""
    return os.environ.get(TRACE_VARIABLE, "0") not in ("", "0")


def exit_with(error: Exception, *, tells_trace: bool = True) -> NoReturn:
    """Print the message of an error and end with exit code 1; a reader that has gone, as ``head`` goes, gets none.

    Args:
        error: The error.
        tells_trace: Whether to say how the stack trace is shown, which is of no use where a word was mistyped.
    """
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tells of it at its end
        sys.exit(128 + signal.SIGPIPE)
    if not isinstance(sys.unraisablehook, _OnceIsEnough):
        sys.unraisablehook = _OnceIsEnough(sys.unraisablehook)
    print(f"\ndeta: {shown_lines(describe(error))}", file=sys.stderr)
    if tells_trace:
        print(f"({TRACE_VARIABLE}=1 shows the stack trace)", file=sys.stderr)
    sys.exit(1)


@contextmanager
def termination_as_exception() -> Iterator[None]:
    """Let SIGTERM raise ``SystemExit``, as SIGINT raises ``KeyboardInterrupt``, so that what is begun can be ended."""
    earlier = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


class _OnceIsEnough:
    """Leaves out that a reader was killed where PyTorch tells of it once more, while its loader is cleared away."""

    def __init__(self, others: "Callable[[sys.UnraisableHookArgs], object]") -> None:
        self._others = others

    def __call__(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """As of ``sys.unraisablehook``."""
        error = unraisable.exc_value
        if error is None or wants_trace() or _reader_failure(error) is None:
            self._others(unraisable)


def describe(error: BaseException) -> str:
    """The message of the innermost cause, with the configuration key under which it arose."""
    lines = [line.strip() for line in str(error).splitlines()]
    key = next((line for line in lines if line.startswith("full_key: ")), "")
    cause = _reader_failure(error) or error
    while isinstance(cause, HydraException) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ModuleNotFoundError) and (advice := advice_on_missing(cause.name)) is not None:
        return advice
    if isinstance(cause, MissingMandatoryValue):
        name = key.removeprefix("full_key: ")
        return f"{name} has no value yet: give {name}=<value>"
    if isinstance(cause, OverrideParseException):
        return _unreadable(cause.override)
    if isinstance(cause.__cause__, OSError) and "handler" in str(cause):  # the log file, of which logging says no more
        cause = cause.__cause__
    text = _own_message(str(cause).strip()) or type(cause).__name__
    if isinstance(cause, HydraException) and (default := present_default(text)) is not None:
        return f"{text.partition(chr(10))[0]} Written otherwise by now: {default} (docs/moved.md, files of your own)"
    if isinstance(error, ConfigCompositionException) and cause is not error:
        return ": ".join(part for part in (str(error).strip(), text.partition("\n")[0]) if part)
    choice = _OF_QUERIES.search(text)
    if choice is not None:
        return f"{choice[1]}= is a choice of query systems, which this system is not: {_INSTEAD[choice[1]]}"
    if (misplaced := _MISPLACED.match(text)) is not None:
        return f"{misplaced[1]}={misplaced[3]}: did you mean {misplaced[2]}={misplaced[3]}?"
    if (unchosen := _UNCHOSEN.match(text)) is not None:
        choices = [name for name in unchosen[2].split() if name != "default"]  # on which the others are built
        return f"{unchosen[1]} has no value yet: give {unchosen[1]}=<name>, one of {', '.join(choices)}"
    if (twice := _TWICE.match(text)) is not None:
        return (
            f"two choices of one group, such as further=[denoise,contrastive], both make {twice[1]}: give one of them"
        )
    if isinstance(cause, TypeError) and "unexpected keyword" in text:
        text += "; see the keys with --cfg job"
    where = key.removeprefix("full_key: ")
    return f"{where}: {text}" if where and cause is not error else text


def _unreadable(word: str) -> str:
    """What to do where Hydra's grammar has no way to read an override."""
    key, equals, value = word.partition("=")
    if not key or not equals:
        return f"{word!r}: an override is key=value" if not word.strip() else f"{word}: an override is key=value"
    if value.startswith("[") and value.endswith("]"):
        return (
            f"{word}: in a list, texts with letters that mean something else stand in quotes: \"{key}=['a=b','c d']\""
        )
    spelt = f"{key}={quoted(value)}"
    spelt = shlex.quote(spelt) if any(letter in spelt for letter in '"$`\\!') else f'"{spelt}"'
    return f"{word}: this value has letters that mean something else; as a text it is written {spelt}"


def _own_message(text: str) -> str:
    """The message without the stack trace that an error brings along from a reading process."""
    lines = list(ERROR_LINE.finditer(text)) if WORKER_ERROR.match(text) else []
    return text[lines[-1].end() :] if lines else text


def _reader_failure(error: BaseException) -> Exception | None:
    """The error in words for a user if it tells of a reading process, which PyTorch does at any point of a training."""
    if not isinstance(error, (RuntimeError, ConnectionError, EOFError)) or "torch" not in sys.modules:
        return None
    from deta.data.reader_errors import reader_failure

    return reader_failure(error)


def _as_message(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning: of our own code what it says, of another package also where it arose."""
    if Path(filename).is_relative_to(_OWN_CODE):
        return f"deta: {message}\n"
    return _usual_warning(message, category, filename, lineno, line)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_NO_NEWS) and "litlogger" not in record.getMessage()


def calm_lightning() -> None:
    """Leave Lightning's messages to Hydra's log, so that none stands there twice, without what is no news."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_news)
    for message in LIBRARY_NOISE:
        warnings.filterwarnings("ignore", message=message)
