"""The ``deta`` command: the first word chooses a Hydra application."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from deta import __version__
from deta.console.catalogue import (
    CHILD_COMMAND,
    COMMANDS,
    COMPLETION,
    begins_command,
    below,
    meant_command,
    usage,
)
from deta.console.quoting import quoted, unquoted
from deta.console.spelling import spelt_out
from deta.runs import preemption
from deta.runs.cluster import name_launch
from deta.studies.conf import config_dir as config_dir
from deta.utils.cpus import set_up_threads
from deta.utils.names import nearest, shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

OF_A_RULE = {
    "rule/first": ("criterion.rules.first.assigner", "selection"),
    "rule/layers": ("criterion.rules.layers.assigner", "criterion.rules.layers.rematch", "postprocess"),
}
OF_A_RULE["rule"] = (*OF_A_RULE, *(name for names in OF_A_RULE.values() for name in names))
"""What a rule chooses: words of an earlier command line for these, and for what is below, give way to another rule."""


def main() -> None:
    """Run a command; exits with 0 on success, 1 on failure and 2 where the command line is wrong."""
    if sys.argv[1:2] == [COMPLETION]:
        from deta.commands.completion import complete

        code, text = complete(sys.argv[2:], config_dir())
        print(text)
        sys.exit(code)
    command = _take_command()
    set_up_threads(os.environ)  # before PyTorch is imported
    if command == "train":
        preemption.listen()
        _require_launcher(sys.argv[1:])
        try:
            sys.argv[1:] = continue_run(sys.argv[1:])
        except (OSError, ValueError) as error:
            print(f"deta: {error}", file=sys.stderr)
            sys.exit(1)
    from deta.commands.launch import TrainLauncher
    from deta.console.application import run_application
    from deta.console.naming import register_resolvers
    from deta.console.terminal import say_loading

    name = command.replace(" ", "_")
    launcher = TrainLauncher()

    def task(cfg: "DictConfig") -> None:
        if COMMANDS[command].needs_torch:
            say_loading()
        import_module(f"deta.commands.{name}").run(cfg)  # late: it imports torch, which --cfg job does not need

    register_resolvers()
    chosen = launcher.run if command == "train" else task
    try:
        has_run = run_application(command, chosen, sys.argv[1:], config_dir())
    except SystemExit:
        launcher.show_sweep()
        raise
    if has_run:
        launcher.finish()
    preemption.end()


def continue_run(arguments: list[str]) -> list[str]:
    """Let ``ckpt=<run>`` bring back the command line of that run, in its directory.

    Args:
        arguments: Overrides as given. Those of the earlier run come first, so that given ones win.

    Returns:
        The overrides to use; ``arguments`` where ``ckpt`` is absent or names no run directory of ours.

    Raises:
        ValueError: The record of the run has words that need trust, see ``require_trusted``.
    """
    given = [word.removeprefix("ckpt=") for word in arguments if word.startswith("ckpt=")]
    if not given or given[-1] in ("", "null", "auto") or any(word.startswith("hydra.run.dir=") for word in arguments):
        return arguments
    if "','" in given[-1]:  # several, which a sweep takes in turn
        return arguments
    path = Path(unquoted(given[-1]))
    is_shown = any(word.partition("=")[0] in ("--cfg", "-c") for word in arguments)  # nothing is to be trained
    if not path.exists() and not is_shown and "${" not in given[-1]:
        raise FileNotFoundError(f"{path} does not exist: give ckpt=<run directory or checkpoint file>")
    folder = path.parent.parent if path.is_file() else path
    from deta.building.word_trust import require_trusted
    from deta.console.words import record_words, recorded_words, training_words
    from deta.runs.cells import WORDS

    earlier = recorded_words(folder)
    if earlier is None:
        return arguments
    if not (folder / WORDS).is_file():
        record_words(folder, earlier)  # Hydra is about to overwrite its own record
    names = {word.partition("=")[0] for word in arguments if "=" in word or word.startswith("~")}
    replaced = tuple(place for group, places in OF_A_RULE.items() if group in names for place in places)
    kept = [
        word
        for word in training_words(earlier)
        if word.partition("=")[0] not in names and not _is_below(word, replaced)
    ]
    kept = require_trusted(kept, folder, _trusted(arguments))
    return [*kept, *arguments, f"hydra.run.dir={quoted(str(folder))}"]


def _is_below(word: str, places: tuple[str, ...]) -> bool:
    """Whether a word is for one of these places of the configuration or what is below, as a key or as a choice."""
    place = word.partition("=")[0].lstrip("+~").rpartition("@")[2]
    return any(f"{place}.".startswith(f"{each}.") for each in places)


def _trusted(arguments: list[str]) -> list[str]:
    """The value of the last ``trusted=[...]``, which Hydra reads later."""
    given = [word.removeprefix("trusted=") for word in arguments if word.startswith("trusted=")]
    return [name.strip(" '\"") for name in given[-1].strip("[]").split(",") if name.strip()] if given else []


def _require_launcher(words: list[str]) -> None:
    """Hydra would say of a missing launcher only that a configuration is not there."""
    if "cluster=submitit" in words and find_spec("submitit") is None:
        print(
            "deta: cluster=submitit needs a package that is not installed: pip install hydra-submitit-launcher",
            file=sys.stderr,
        )
        sys.exit(1)


def _take_command() -> str:
    """Remove the command's words from the command line, so that Hydra sees the overrides alone."""
    words = sys.argv[1:]
    if "LOCAL_RANK" in os.environ and CHILD_COMMAND in os.environ:
        return os.environ[CHILD_COMMAND]
    if words and words[0] in ("help", "-h", "--help") and begins_command("".join(words[1:2])):
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(f"deta {__version__}")
        sys.exit(0)
    flags = list(takewhile(lambda word: not begins_command(word), words)) if words[0].startswith("-") else []
    words = words[len(flags) :] or words
    for length in (2, 1):
        command = " ".join(words[:length])
        if command in COMMANDS:
            sys.argv[1:] = _spelt_out(command, [*words[length:], *flags])
            os.environ[CHILD_COMMAND] = command
            name_launch()
            return command
    return _refuse(words)


def _spelt_out(command: str, words: list[str]) -> list[str]:
    try:
        return spelt_out(COMMANDS[command], words)
    except ValueError as error:
        print(f"deta: {error}", file=sys.stderr)
        sys.exit(2)


def _refuse(words: list[str]) -> NoReturn:
    """Say which commands there are, and which was probably meant."""
    group = below(words[0])
    if group and (len(words) == 1 or words[1] in ("-h", "--help")):
        lines = [f"  deta {name:<12} {purpose}" for name, purpose in group.items()]
        print("\n".join([f"usage: deta {words[0]} <command> [key=value ...]", "", *lines]))
        sys.exit(0 if len(words) > 1 else 2)
    given = " ".join(words[:2]) if group else words[0]
    meant = meant_command(words) or nearest(words[0], ("--help", "--version"))
    advice = f"did you mean deta {meant}?" if meant else f"commands: {', '.join(group or COMMANDS)}"
    print(f"deta: no command '{shown(given)}'; {advice} (deta --help lists all)", file=sys.stderr)
    sys.exit(2)
