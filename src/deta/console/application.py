"""A command as an application of Hydra: composed, shown, run or swept; what a user can mend is one message."""

import argparse
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig

from deta.console.catalogue import COMMANDS
from deta.console.help import MAIN, help_text
from deta.console.inputs import require_inputs
from deta.console.loader import Loader, values_as_written
from deta.console.options import OPTIONS, VALUES
from deta.console.rule_words import rule_words
from deta.console.study_words import product_words
from deta.console.terminal import exit_with, user_errors, wants_trace
from deta.console.vocabulary_reading import read_vocabulary
from deta.console.word_checks import WordError, require_words
from deta.utils.checks import require_bool
from deta.utils.names import shown_lines

VERSION_BASE = "1.3"
LEAVING_NO_FILES = ("hydra.output_subdir=null", "hydra/job_logging=stdout")
"""With these Hydra writes neither its record nor a log into a run directory."""
INSTEAD = {"ckpt": "from_file"}
"""Keys that need no value where another one has one."""


def run_application(
    command: str, task: Callable[[DictConfig], object], words: Sequence[str], configurations: Path
) -> bool:
    """Do what a command line asks; exits with 1 after an error that a user can mend, and with 2 of a wrong option.

    Ctrl-C ends it with 130 and no trace.

    Args:
        command: Such as ``data check``; its configuration is ``data_check.yaml``.
        task: What is run, once or for every run of a sweep.
        words: Options and overrides, in any order.
        configurations: The folder of configurations.

    Returns:
        Whether the task was run, and nothing was only shown.
    """
    version.setbase(VERSION_BASE)
    parser = _parser(command)
    options, _ = parser.parse_known_intermixed_args(words)
    try:
        hydra = make_hydra(configurations, options.config_dir)
        require_words(hydra, command, words, [*parser._option_string_actions])
        return _do(command, hydra, options, task)
    except WordError as error:
        print(f"deta: {shown_lines(error)}", file=sys.stderr)
        sys.exit(2)
    except user_errors() as error:
        if wants_trace():
            raise
        exit_with(error, tells_trace=False)
    except KeyboardInterrupt:
        if wants_trace():
            raise
        print("\ndeta: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        GlobalHydra.instance().clear()


def _do(command: str, hydra: Hydra, options: argparse.Namespace, task: Callable[[DictConfig], object]) -> bool:
    name = options.config_name or command.replace(" ", "_")
    words: list[str] = options.overrides
    choices = partial(_loader(hydra).choices, name, words)
    if command == "study" and (options.help is None or any(word.startswith("study=") for word in words)):
        words = product_words(words, choices)
    if command == "data assign":
        words = rule_words(words, choices)
    if options.help is not None:
        vocabulary = read_vocabulary(hydra, name, words)
        print(help_text(command, vocabulary, options.help))
    elif options.hydra_help:
        hydra.hydra_help(name, args_parser=_parser(command), args=argparse.Namespace(overrides=[]))
    elif options.info:
        hydra.show_info(options.info, config_name=name, overrides=words)
    elif options.cfg:
        hydra.show_cfg(name, words, cfg_type=options.cfg, package=options.package, resolve=options.resolve)
    else:
        _run(hydra, command, name, task, words, is_sweep=options.multirun)
        return True
    return False


def _run(
    hydra: Hydra, command: str, name: str, task: Callable[[DictConfig], object], words: list[str], *, is_sweep: bool
) -> None:
    """Run or sweep as the option ``-m`` says, or else the configuration (a named sweep does)."""
    dry = [*LEAVING_NO_FILES, *words]
    given = dry if "dry_run=true" in words else words
    as_it_is = {"with_log_configuration": False, "validate_sweep_overrides": False}
    cfg = hydra.compose_config(name, given, RunMode.MULTIRUN, **as_it_is)
    _require_own_parts(cfg.hydra)
    _require_values(cfg, words, command)
    if not is_sweep and cfg.hydra.mode != RunMode.MULTIRUN:
        require_inputs(command, cfg, words)
    final = dry if require_bool("dry_run", cfg.get("dry_run", False)) else words
    is_as_composed = final is given  # else another word, or a file of the user's, says otherwise
    mode = cfg.hydra.mode
    if is_sweep and mode == RunMode.RUN:
        warnings.warn("-m wins over hydra.mode=RUN", stacklevel=1)
    chosen = RunMode.MULTIRUN if is_sweep else mode or RunMode.RUN
    if chosen != mode:
        final = [*final, f"hydra.mode={chosen.name}"]
    if is_as_composed:
        _loader(hydra).keep(cfg, final, chosen)
    start = hydra.run if chosen == RunMode.RUN else hydra.multirun
    start(config_name=name, task_function=task, overrides=final)


def _require_own_parts(hydra: DictConfig) -> None:
    """Refuse a command without a part of Hydra that runs or sweeps it, or without a callback of ours.

    Raises:
        ValueError: A part is null.
    """
    parts = {"sweeper": hydra.sweeper, "launcher": hydra.launcher}
    parts |= {f"callbacks.{name}": node for name, node in hydra.callbacks.items()}
    for name, node in parts.items():
        if node is None:
            raise ValueError(f"hydra.{name}=null: the command needs it; leave this word out")


def _require_values(cfg: DictConfig, words: Sequence[str], command: str) -> None:
    """Find what must still be given before packages are imported for seconds and a directory is made.

    Raises:
        ValueError: A key has no value, which no word of a sweep gives either.
    """
    values = dict(values_as_written(cfg))
    swept = {word.partition("=")[0].lstrip("+") for word in (*words, *(cfg.hydra.sweeper.get("params") or {}))}
    missing = [key for key, value in values.items() if value == MISSING and key not in swept]
    faults = [
        f"{key} has no value yet: give {key}=<value>" for key in missing if values.get(INSTEAD.get(key, "")) is None
    ]
    if faults:
        is_short = any(key in COMMANDS[command].positional for key in missing)
        raise ValueError("; ".join(faults) + (f" ({COMMANDS[command].usage(command)})" if is_short else ""))


def make_hydra(configurations: Path, own: str | None) -> Hydra:
    """Hydra with our loader, known to all that asks for the global one.

    Raises:
        NotADirectoryError: The user's own folder of configurations is none.
    """
    search_path = create_config_search_path(str(configurations))
    if own is not None:
        if not Path(own).is_dir():
            raise NotADirectoryError(f"--config-dir {own} is no folder: give one with configurations in it")
        anchor = SearchPathQuery(provider="schema")
        search_path.prepend(provider="command-line", path=f"file://{Path(own).absolute()}", anchor=anchor)
    hydra = Hydra(task_name="deta", config_loader=Loader(search_path))
    GlobalHydra.instance().initialize(hydra)
    return hydra


def _loader(hydra: Hydra) -> Loader:
    """The loader that ``make_hydra`` has put there."""
    assert isinstance(hydra.config_loader, Loader)
    return hydra.config_loader


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"deta: {message}; see {self.prog} --help\n")


def _parser(command: str) -> _Parser:
    usage = COMMANDS[command].usage(command)
    parser = _Parser(prog=f"deta {command}", usage=usage, add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", help=argparse.SUPPRESS)
    flag: dict[str, Any] = {"action": "store_true"}
    settings: dict[str, dict[str, Any]] = {
        "--help": {"nargs": "?", "const": MAIN, "metavar": "WORD"},
        "--hydra-help": flag,
        "--cfg": {"choices": VALUES["--cfg"]},
        "--resolve": flag,
        "--package": {"metavar": "KEY"},
        "--run": flag,
        "--multirun": flag,
        "--config-dir": {"metavar": "FOLDER"},
        "--config-name": {"metavar": "NAME"},
        "--info": {"choices": VALUES["--info"]},
    }
    for name, (short, meaning) in OPTIONS.items():
        parser.add_argument(*filter(None, (name, short)), help=meaning, **settings[name])
    return parser
