"""The commands of ``deta``, an entry for each: what it is for and how its words are read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from deta.utils.names import nearest

_OF_TRAININGS = ("folder", "overrides", "parallel", "threads", "dry_run", "paths", "cluster", "hydra")


@dataclass(frozen=True)
class Command:
    """How a command is called; its keys stand in ``conf/<command>.yaml``, its code in ``deta.commands.<command>``.

    Attributes:
        purpose: In one line.
        positional: Keys whose values may be given without them, in this order.
        own: Of a command that passes words on to trainings: first parts of the keys that it keeps; empty: all.
        reads: Keys whose files must exist; ``data`` means the annotations of the data set, ``data.val`` of that split.
        main: What its short help shows: title to keys and groups of choices; empty: what it does not share with others.
        needs_torch: Whether it imports PyTorch, which takes seconds.
    """

    purpose: str
    positional: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    main: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs_torch: bool = True

    def usage(self, name: str) -> str:
        """How the command is typed."""
        places = "".join(f" [{key.upper()}]" for key in self.positional)
        return f"deta {name}{places} [key=value ...] [option ...]"


_TRAINING = {
    "What is trained": ("experiment", "system", "size", "rule", "selection", "further", "classes", "weights"),
    "On what": ("data", "data.root", "data.batch_size", "data.num_workers", "augment"),
    "How": ("optimizer", "optimizer.lr", "schedule", "callbacks", "seed", "compile"),
    "How long, and where": (
        "trainer.max_epochs",
        "trainer.check_val_every_n_epoch",
        "trainer.precision",
        "trainer.accelerator",
        "trainer.devices",
        "trainer",
        "cluster",
    ),
    "The run": ("name", "hydra.run.dir", "ckpt", "logger", "sweep", "dry_run"),
}

COMMANDS: Mapping[str, Command] = {
    "train": Command("train a detector and evaluate it after every epoch; -m sweeps", main=_TRAINING),
    "search": Command(
        "look for good values by Optuna, one training after the other",
        ("search",),
        reads=("data",),
        main={"What is searched": ("search", "search.num_trials", "search.metric", "search.seed"), **_TRAINING},
    ),
    "runs": Command("list runs with state, steps and AP", ("folder",), reads=("folder",), needs_torch=False),
    "runs resume": Command(
        "do what is not done of a folder of runs", ("folder",), own=_OF_TRAININGS, reads=("folder",), needs_torch=False
    ),
    "study": Command(
        "compare: train every cell of a declared study with several seeds, and judge the differences",
        ("study",),
        own=("study", "size", "action", "bootstrap", *_OF_TRAININGS),
        main={
            "Which study, <question>_<size>": ("study/question@study", "study/size@study"),
            "How": ("action", "parallel", "threads", "cluster", "dry_run", "folder", "bootstrap"),
        },
    ),
    "report": Command("write a page and tables of a study or a sweep", ("folder",), reads=("folder",)),
    "eval": Command(
        "evaluate a checkpoint on a data set; --from FILE: stored predictions, without a model",
        ("ckpt",),
        reads=("data.val", "ckpt", "from_file"),
    ),
    "predict": Command(
        "detect objects in images, folders, videos and streams", ("ckpt", "source"), reads=("ckpt", "source")
    ),
    "export": Command(
        "write a detector as an ONNX file or a program of PyTorch, and check it", ("ckpt",), reads=("ckpt",)
    ),
    "convert": Command("turn a published checkpoint into ours, or back", ("source", "target"), reads=("source",)),
    "weights list": Command(
        "published weights by name: system, AP, licence, where their file is", ("match",), needs_torch=False
    ),
    "weights get": Command("download published weights once, and check them", ("name",), needs_torch=False),
    "data import": Command("turn a data set of YOLO, Pascal VOC or LabelMe into one of COCO's layout", ("folder",)),
    "data split": Command(
        "part one annotation file into training and validation, without duplicates across", ("annotations",)
    ),
    "data check": Command("check annotations and decode every image"),
    "data stats": Command("sizes, numbers, categories and overlap of the annotated objects", reads=("data",)),
    "data show": Command("pictures of the annotated images before and after augmentation", reads=("data",)),
    "data assign": Command(
        "what an assignment rule does to a data set's objects, without training", ("assigner",), reads=("data",)
    ),
    "data shard": Command("pack images and annotations into shards for training from an object store", reads=("data",)),
    "doctor": Command(
        "show versions, machine, extras and whether the attention operator computes rightly", needs_torch=False
    ),
}
"""What can stand behind ``deta``."""

CHILD_COMMAND = "DETA_CHILD_COMMAND"
"""Environment variable by which a rank that Lightning starts learns the command; it gets only the overrides."""
COMPLETION = "completion"
"""The command that is answered without a configuration."""
_ELSEWHERE = {
    "detect": "predict",
    "fit": "train",
    "infer": "predict",
    "list": "runs",
    "ls": "runs",
    "resume": "runs resume",
    "sweep": "search",
    "test": "eval",
    "tune": "search",
    "val": "eval",
    "validate": "eval",
}
"""What other programs call these commands."""


def environment_of_another() -> dict[str, str]:
    """The environment for a command that this one starts and that is no rank of it."""
    return {name: value for name, value in os.environ.items() if name != CHILD_COMMAND}


def begins_command(word: str) -> bool:
    """Whether a word is a command, or the first of two that are one."""
    return any(word == name.partition(" ")[0] for name in COMMANDS)


def below(word: str) -> dict[str, str]:
    """Commands of two words that begin so, and what they are for."""
    return {name: command.purpose for name, command in COMMANDS.items() if name.startswith(f"{word} ")}


def meant_command(words: list[str]) -> str | None:
    """The command that was probably meant by the first words of a command line."""
    first = words[0]
    pair = " ".join(words[:2])
    if below(first):
        return nearest(pair, below(first))
    return _ELSEWHERE.get(first) or nearest(pair, COMMANDS) or nearest(first, COMMANDS)


def usage() -> str:
    """All commands with what they are for."""
    names = {**{name: command.purpose for name, command in COMMANDS.items()}}
    names[COMPLETION] = "print a script by which a shell completes words: bash, zsh or fish"
    lines = [f"  deta {name:<12} {purpose}" for name, purpose in names.items()]
    return "\n".join(
        [
            "usage: deta <command> [key=value ...]",
            "",
            *lines,
            "",
            "deta <command> --help shows its main keys, --help all every key, --help WORD those with a word in them;",
            "--cfg job prints the configuration, --multirun sweeps.",
        ]
    )
