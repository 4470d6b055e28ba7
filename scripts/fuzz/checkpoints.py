"""Checkpoints: damaged bytes, wrong content, and stored configurations that want to run something."""

import copy
import io
import json
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from deta.building.build import restore_detector
from deta.training.checkpoint import Checkpoint, load_weights, make_metadata, read_checkpoint
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from scripts.fuzz.mutations import change_bytes, change_tree, deep
from scripts.fuzz.trial import Case

_CANARY = Path(tempfile.gettempdir()) / "deta-fuzz-canary"
_CONFIG = {
    "model": {
        "_target_": "deta.models.Detector",
        "body": {"_target_": "deta.models.QueryBody", "hidden_dim": 32},
        "backbone": {"_target_": "deta.models.ConvBackbone"},
    },
    "postprocess": {"_target_": "deta.models.postprocess.NMS"},
}


class Weights(nn.Module):
    """A module whose state has floats, integers and a shape to get wrong."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(24, 24, generator=generator))
        self.register_buffer("counter", torch.arange(8))


def sound() -> dict[str, Any]:
    """The content of a checkpoint as a training writes it."""
    state = {f"detector.{name}": value for name, value in Weights().state_dict().items()}
    metadata = make_metadata(_CONFIG, [3, 7], ["ant", "cat"])
    return {"state_dict": state, CHECKPOINT_KEY: metadata, "epoch": 1, "global_step": 20}


class Checkpoints:
    """Flipped bits, swapped entries, other types, and 60 spellings of a command."""

    name = "checkpoints"
    suffix = ".ckpt"
    seconds = 30.0

    def make(self, random: Random) -> Case:
        """A sound checkpoint with bytes, entries or types changed, or one that asks for more."""
        how = random.random()
        if how < 0.5:
            title, content = change_bytes(saved(sound()), random)
        elif how < 0.6:
            title, content = "swapped entries", _swap_entries(saved(sound()), random)
        elif how < 0.75:
            title, tree = _other_content(random)
            content = saved(tree)
        elif how < 0.85:
            title, content = random.choice(list(_STRANGERS.items()))
        else:
            tree = sound()
            node = _attack(random)
            place = random.choice(("model", "backbone", "neck"))
            tree[CHECKPOINT_KEY] = copy.deepcopy(tree[CHECKPOINT_KEY])
            config = tree[CHECKPOINT_KEY]["config"]
            (config if place == "model" else config["model"])[place] = node
            title, content = f"attack in {place}: {json.dumps(node)}", saved(tree)
        return Case(title, content)

    def check(self, path: Path, case: Case) -> str | None:
        """Read it, load its weights, and compare them with those that were saved."""
        _clear()
        read = read_checkpoint(path)
        if case.title.startswith("attack"):
            return _fault_of_attack(read)
        weights = Weights()
        load_weights(weights, read)
        if not _is_same(weights.state_dict(), Weights().state_dict()):
            return "other weights than were saved"
        expected = sound()[CHECKPOINT_KEY]
        found = {"config": read.config, "category_ids": list(read.category_ids)}
        found |= {"category_names": list(read.category_names)}
        is_known = case.title.startswith("tree") or found == {name: expected[name] for name in found}
        return None if is_known else "another configuration than was saved"


def _fault_of_attack(read: Checkpoint) -> str | None:
    """What a stored configuration has done; it must be refused."""
    try:
        restore_detector(read)
    except Exception:  # of any kind: what it has done weighs more
        if _clear():
            return "it ran what it holds"
        raise
    return "it ran what it holds" if _clear() else "the configuration was accepted"


def _clear() -> bool:
    """Remove what an attack leaves behind; whether it had left anything."""
    if _CANARY.is_dir():
        _CANARY.rmdir()
    elif _CANARY.exists():
        _CANARY.unlink()
    else:
        return False
    return True


def _is_same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in second)


def saved(content: object) -> bytes:
    """A file as a training writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.ckpt"
        save_tensors(content, path)
        return path.read_bytes()


def _other_content(random: Random) -> tuple[str, Any]:
    tree: dict[str, Any] = sound()
    change, apply = random.choice(list(_CHANGES.items()))
    if apply is None:
        tree[CHECKPOINT_KEY] = copy.deepcopy(tree[CHECKPOINT_KEY])
        title = change_tree(tree, random)
        return f"tree: {title}", tree
    tree["state_dict"]["detector.matrix"] = apply(tree["state_dict"]["detector.matrix"])
    return change, tree


_CHANGES: dict[str, Callable[[torch.Tensor], Any] | None] = {
    "tree": None,
    "integers": lambda value: value.to(torch.int64),
    "complex": lambda value: value.to(torch.complex64),
    "sparse": lambda value: value.to_sparse(),
    "meta": lambda value: value.to("meta"),
    "text": lambda _: "matrix",
    "empty": lambda value: value[:0],
    "list": lambda value: value.tolist(),
}
_STRANGERS = {
    "nothing": b"",
    "zeros": bytes(4096),
    "text": b"not a checkpoint\n" * 40,
    "{}": b"{}",
    "html": b"<!doctype html><title>404</title>",
    "json": json.dumps({"state_dict": {}}).encode(),
    "pickle of a command": b"cos\nsystem\n(S'touch " + str(_CANARY).encode() + b"'\ntR.",
    "pickle": pickle.dumps({"state_dict": {}}),
    "deep": deep(Random(0)),
    "empty zip": b"PK\x05\x06" + bytes(18),
    "saved {}": saved({}),
    "saved list": saved([1]),
    "saved number": saved(3),
    "saved tensor": saved(torch.zeros(3)),
}


_TARGETS = (
    "os.mkdir", "pathlib.Path.touch", "subprocess.check_call", "builtins.eval", "builtins.open", "torch.load",
    "deta.tracking.environment._git", "deta.launching.trainings._start", "deta.training.checkpoint.torch.load",
    "deta.utils.files.write_text", "deta.utils.files.write_json", "deta.training.checkpoint.os.mkdir",
    "deta.${oc.decode:engine.checkpoint.os.mkdir}", "${oc.decode:os.mkdir}", "deta.models", "deta.models.Detector.",
    " os.mkdir", "deta.runs.state.mark_failed", "deta.data.images.Path", "hydra.utils.call", "functools.partial",
)  # fmt: skip


def _attack(random: Random) -> dict[str, Any]:
    program = f"open({str(_CANARY)!r}, 'w')"
    words = random.choice(([str(_CANARY)], ["touch", str(_CANARY)], [program], [str(_CANARY), "w"]))
    node: dict[str, Any] = {"_target_": random.choice(_TARGETS)}
    how = random.choice(("_args_", "path", "f", "interpolated", "create"))
    if how == "_args_":
        node["_args_"] = words
    elif how == "interpolated":
        node |= {"_args_": ["${oc.env:HOME}", *words]}
    elif how == "create":
        node = {
            "_target_": "deta.models.Detector",
            "neck": "${oc.create:{_target_: os.mkdir, path: " + str(_CANARY) + "}}",
        }
    else:
        node[how] = words[-1]
    return node


def _swap_entries(content: bytes, random: Random) -> bytes:
    """The container with the contents of two entries exchanged, its own checksums right."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as changed:
        names = source.namelist()
        first, second = random.sample(names, 2)
        partner = {first: second, second: first}
        for name in names:
            changed.writestr(name, source.read(partner.get(name, name)))
    return target.getvalue()
