"""How commands talk to the terminal: one clear message for what a user can mend, a trace only on request."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import wraps

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

USER_ERRORS = (
    ValueError,
    OSError,
    ModuleNotFoundError,
    HydraException,
    OmegaConfBaseException,
)
WORKER_ERROR = re.compile(r"Caught \w+ in DataLoader worker process")
ERROR_LINE = re.compile(r"^[\w.]*(?:Error|Exception)\w*: ", re.MULTILINE)
"""The last line of a stack trace names the class of the error before its message."""
DEAD_READER = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)")
TRACE_VARIABLE = "HYDRA_FULL_ERROR"
LIBRARY_NOISE = (
    ".*LeafSpec.*",  # Lightning 2.6 with torch 2.12 or newer
    ".*does not have many workers.*",  # reading is as fast as data.num_workers says
    ".*smaller than the logging interval.*",
    ".*not supported by the model summary.*",
    ".*exists and is not empty.*",  # deta train refuses the folder of another run
)
"""Warnings of Lightning that a user can do nothing about."""


def reports_errors(command: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn errors of the user's input into a message and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the trace."""

    @wraps(command)
    def guarded(cfg: DictConfig) -> None:
        _calm_lightning()
        try:
            command(cfg)
        except Exception as error:  # of any kind: what is not for the user is raised again
            if os.environ.get(TRACE_VARIABLE, "0") not in ("", "0") or not _is_for_the_user(error):
                raise
            print(f"\ndeta: {describe(error)}", file=sys.stderr)
            print(f"({TRACE_VARIABLE}=1 shows the stack trace)", file=sys.stderr)
            sys.exit(1)

    return guarded


def describe(error: BaseException) -> str:
    """The message of the innermost cause, with the configuration key under which it arose."""
    lines = [line.strip() for line in str(error).splitlines()]
    key = next((line for line in lines if line.startswith("full_key: ")), "")
    cause = error
    while isinstance(cause, HydraException) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, MissingMandatoryValue):
        name = key.removeprefix("full_key: ")
        return f"{name} has no value yet: give {name}=<value>"
    text = _own_message(str(cause).strip()) or type(cause).__name__
    if DEAD_READER.match(text):
        text = (
            "a process that reads images was killed, most often because the memory was full: give the job more "
            f"memory, or set data.num_workers or data.batch_size lower; the run can be continued ({text})"
        )
    if isinstance(cause, TypeError) and "unexpected keyword" in text:
        text += "; see the keys with --cfg job"
    where = key.removeprefix("full_key: ")
    return f"{where}: {text}" if where and cause is not error else text


def _own_message(text: str) -> str:
    """The message without the stack trace that an error brings along from a reading process."""
    lines = list(ERROR_LINE.finditer(text)) if WORKER_ERROR.match(text) else []
    return text[lines[-1].end() :] if lines else text


def _is_for_the_user(error: Exception) -> bool:
    if isinstance(error, USER_ERRORS) or DEAD_READER.match(str(error)):
        return True
    if "lightning" not in sys.modules:
        return False  # not to import PyTorch for a command that did without
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from deta.engine.callbacks import NonFiniteLossError

    return isinstance(error, (MisconfigurationException, NonFiniteLossError))


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def _calm_lightning() -> None:
    """Leave Lightning's messages to Hydra's log, so that none stands there twice, without its advertisement."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    for message in LIBRARY_NOISE:
        warnings.filterwarnings("ignore", message=message)
