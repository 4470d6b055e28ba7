"""The ``deta`` command: the first word chooses a Hydra application."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deta.commands.conf import config_dir as config_dir
from deta.engine import preemption

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
    "predict": "detect objects in images, a folder or a glob",
    "convert": "turn a published checkpoint into ours, or back",
    "data check": "check annotations and decode every image",
    "data stats": "sizes, numbers, categories and overlap of the annotated objects",
    "data show": "pictures of the annotated images before and after augmentation",
    "data assign": "what an assignment rule does to a data set's objects, without training",
    "data shard": "pack images and annotations into shards for training from an object store",
    "doctor": "show versions, devices and the attention backend",
}
HYDRA_OPTIONS = ("cfg", "config-dir", "config-name", "config-path", "experimental-rerun", "info", "package")
"""Options of Hydra that take a value; every other ``--name=value`` is an override with dashes by mistake."""
FIRST_WORDS = {"report": "folder"}
"""Commands whose first word may be the bare value of a key."""
CHILD_COMMAND = "DETA_CHILD_COMMAND"
"""Environment variable by which a rank that Lightning starts learns the command; it gets only the overrides."""


def main() -> None:
    """Run a command; exits with 0 on success, 1 on failure and 2 where the command line is wrong."""
    command = _take_command()
    if command == "train":
        preemption.listen()
        _require_launcher(sys.argv[1:])
        try:
            sys.argv[1:] = continue_run(sys.argv[1:])
        except (OSError, ValueError) as error:
            print(f"deta: {error}", file=sys.stderr)
            sys.exit(1)
    sys.argv[1:] = name_first_word(command, sys.argv[1:])
    import hydra

    from deta.commands.launch import TrainLauncher
    from deta.commands.naming import register_resolvers

    name = command.replace(" ", "_")
    launcher = TrainLauncher()

    def task(cfg: "DictConfig") -> None:
        import_module(f"deta.commands.{name}").run(cfg)  # late: it imports torch, which --cfg job does not need

    register_resolvers()
    chosen = launcher.run if command == "train" else task
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(chosen)()
    except SystemExit:
        launcher.show_sweep()
        raise
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
    path = Path(given[-1].strip("'\""))
    folder = path.parent.parent if path.is_file() else path
    from deta.commands.word_trust import require_trusted
    from deta.commands.words import recorded_words, training_words

    earlier = recorded_words(folder)
    if earlier is None:
        return arguments
    names = {word.partition("=")[0] for word in arguments}
    kept = [word for word in training_words(earlier) if word.partition("=")[0] not in names]
    return [*require_trusted(kept, folder, _trusted(arguments)), *arguments, f"hydra.run.dir='{folder}'"]


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
    escaped = first.replace("'", "\\'")
    return [f"{key}='{escaped}'", *others]


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
    for length in (2, 1):
        command = " ".join(words[:length])
        if command in COMMANDS:
            del sys.argv[1 : 1 + length]
            if command == "eval":
                sys.argv[1:] = _spell_from(sys.argv[1:])
            _refuse_dashes(sys.argv[1:])
            _refuse_empty_groups(sys.argv[1:])
            os.environ[CHILD_COMMAND] = command
            return command
    known = ", ".join(COMMANDS)
    given = " ".join(words[:2]) if any(name.startswith(f"{words[0]} ") for name in COMMANDS) else words[0]
    print(f"deta: no command '{given}'. Commands: {known}. See deta --help", file=sys.stderr)
    sys.exit(2)


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
        escaped = value.replace("'", "\\'")
        spelt.append(f"from_file='{escaped}'")
    return spelt


def _refuse_dashes(words: list[str]) -> None:
    for word in words:
        name, equals, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals and name not in HYDRA_OPTIONS:
            print(f"deta: {word}: values are given without dashes: {word.lstrip('-')}", file=sys.stderr)
            sys.exit(2)


def _refuse_empty_groups(words: list[str]) -> None:
    """Of ``criterion=null`` Hydra would show a stack trace."""
    for word in words:
        group, _, value = word.partition("=")
        name = group.partition("@")[0]
        if value == "null" and name and (config_dir() / name).is_dir():
            choices = ", ".join(sorted(path.stem for path in (config_dir() / name).glob("*.yaml")))
            print(f"deta: {word}: {group} takes the name of a choice: {choices}", file=sys.stderr)
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
