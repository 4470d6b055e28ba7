"""The ``deta`` command: the first word chooses a Hydra application."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from deta.commands.quoting import gather_training_words, quote_paths, quoted, sweeps, unquoted
from deta.commands.told_words import told_present_words
from deta.runs import preemption
from deta.studies.conf import config_dir as config_dir
from deta.utils.cpus import set_up_threads
from deta.utils.names import nearest, shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS = {
    "train": "train a detector and evaluate it after every epoch; -m sweeps",
    "search": "look for good values by Optuna, one training after the other",
    "runs": "list runs with state, steps and AP",
    "runs resume": "do what is not done of a folder of runs",
    "study": "compare: train every cell of a declared study with several seeds, and judge the differences",
    "report": "write a page and tables of a study or a sweep",
    "eval": "evaluate a checkpoint on a data set; --from FILE: stored predictions, without a model",
    "predict": "detect objects in images, folders, videos and streams",
    "convert": "turn a published checkpoint into ours, or back",
    "data check": "check annotations and decode every image",
    "data stats": "sizes, numbers, categories and overlap of the annotated objects",
    "data show": "pictures of the annotated images before and after augmentation",
    "data assign": "what an assignment rule does to a data set's objects, without training",
    "data shard": "pack images and annotations into shards for training from an object store",
    "doctor": "show versions, devices and the attention backend",
}
VALUE_OPTIONS = ("cfg", "config-dir", "config-name", "info", "package")
"""Options that take a value; every other ``--name=value`` is an override with dashes by mistake."""
FIRST_WORDS = {"report": "folder", "runs": "folder", "runs resume": "folder"}
"""Commands whose first word may be the bare value of a key."""
_OF_ALL = ("folder", "overrides", "parallel", "threads", "paths", "cluster", "hydra")
OWN_KEYS = {
    "study": (
        "study",
        "size",
        "action",
        "folder",
        "overrides",
        "parallel",
        "threads",
        "bootstrap",
        "dry_run",
        "paths",
        "cluster",
        "hydra",
    ),
    "runs resume": ("folder", "overrides", "parallel", "threads", "dry_run", "paths", "cluster", "hydra"),
}
"""Commands that pass overrides on to trainings: the keys that they keep for themselves."""
OF_A_RULE = {
    "rule/first": ("criterion.rules.first.assigner", "selection"),
    "rule/layers": ("criterion.rules.layers.assigner", "criterion.rules.layers.rematch", "postprocess"),
}
OF_A_RULE["rule"] = (*OF_A_RULE, *(name for names in OF_A_RULE.values() for name in names))
"""What a rule chooses: words of an earlier command line for these, and for what is below, give way to another rule."""
CHILD_COMMAND = "DETA_CHILD_COMMAND"
"""Environment variable by which a rank that Lightning starts learns the command; it gets only the overrides."""


def main() -> None:
    """Run a command; exits with 0 on success, 1 on failure and 2 where the command line is wrong."""
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
    sys.argv[1:] = name_first_word(command, sys.argv[1:])
    from deta.commands.application import run_application
    from deta.commands.launch import TrainLauncher
    from deta.commands.naming import register_resolvers

    name = command.replace(" ", "_")
    launcher = TrainLauncher()

    def task(cfg: "DictConfig") -> None:
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
    path = Path(unquoted(given[-1]))
    is_shown = any(word.partition("=")[0] in ("--cfg", "-c") for word in arguments)  # nothing is to be trained
    if not path.exists() and not is_shown and "${" not in given[-1]:
        raise FileNotFoundError(f"{path} does not exist: give ckpt=<run directory or checkpoint file>")
    folder = path.parent.parent if path.is_file() else path
    from deta.commands.word_trust import require_trusted
    from deta.commands.words import record_words, recorded_words, training_words
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


def name_first_word(command: str, arguments: list[str]) -> list[str]:
    """Let ``deta report runs/x`` mean ``deta report folder='runs/x'``.

    Args:
        command: The command.
        arguments: What follows it.

    Returns:
        The overrides to use; ``arguments`` where the first is an override or an option already.
    """
    key = FIRST_WORDS.get(command)
    if key is None or not arguments or arguments[0].startswith(("-", "+", "~")):
        return arguments
    first, *others = arguments
    if "=" in first and not Path(first).exists():
        return arguments
    return [f"{key}={quoted(first)}", *others]


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
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(f"deta {version('deta')}")
        sys.exit(0)
    flags = list(takewhile(lambda word: not _is_command(word), words)) if words[0].startswith("-") else []
    words = words[len(flags) :] or words
    for length in (2, 1):
        command = " ".join(words[:length])
        if command in COMMANDS:
            sys.argv[1:] = _spelt_out(command, [*words[length:], *flags])
            os.environ[CHILD_COMMAND] = command
            return command
    given = " ".join(words[:2]) if _is_command(words[0]) else words[0]
    meant = nearest(" ".join(words[:2]), COMMANDS) or nearest(words[0], COMMANDS)
    advice = f"Did you mean deta {meant}? " if meant else ""
    print(f"deta: no command '{shown(given)}'. {advice}Commands: {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(2)


def _is_command(word: str) -> bool:
    """Whether a word is a command, or the first of two that are one."""
    return any(word == name.partition(" ")[0] for name in COMMANDS)


def _spelt_out(command: str, words: list[str]) -> list[str]:
    """The words of a command as Hydra reads them."""
    if command == "eval":
        words = _spell_from(words)
    _refuse_dashes(words)
    try:
        words = told_present_words(words)
    except ValueError as error:
        print(f"deta: {error}", file=sys.stderr)
        sys.exit(2)
    words = quote_paths(words, is_sweep=sweeps(words))
    return gather_training_words(words, OWN_KEYS[command]) if command in OWN_KEYS else words


def _spell_from(words: list[str]) -> list[str]:
    """``--from FILE`` and ``--from=FILE`` as the override ``from_file='FILE'``."""
    spelt, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name != "--from":
            spelt.append(word)
            continue
        value = value if equals else next(rest, "")
        if not value or "=" in value:
            print("deta: --from needs a file: deta eval --from predictions.json", file=sys.stderr)
            sys.exit(2)
        spelt.append(f"from_file={quoted(value)}")
    return spelt


def _refuse_dashes(words: list[str]) -> None:
    for word in words:
        name, equals, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals and name not in VALUE_OPTIONS:
            print(f"deta: {word}: values are given without dashes: {word.lstrip('-')}", file=sys.stderr)
            sys.exit(2)


def _usage() -> str:
    lines = [f"  deta {name:<12} {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        [
            "usage: deta <command> [key=value ...]",
            "",
            *lines,
            "",
            "deta <command> --help lists the keys, --cfg job prints the configuration, --multirun sweeps.",
        ]
    )
