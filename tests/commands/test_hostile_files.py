"""Commands on checkpoints and weights that somebody made or damaged: one message, nothing else happens."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.training.checkpoint import AtomicCheckpointIO, read_training
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, fail, succeed
from tests.commands.test_predict import photo

Change = Callable[[dict[str, Any], str], None]


def changed(trained: Run, folder: Path, change: Change) -> Path:
    """A copy of the last checkpoint whose configuration is changed, with right checksums."""
    content = read_training(trained.folder / "checkpoints" / "last.ckpt")
    change(content["deta"]["config"], str(folder / "MARK"))
    AtomicCheckpointIO().save_checkpoint(content, folder / "evil.ckpt")
    return folder / "evil.ckpt"


def shell(mark: str) -> dict[str, Any]:
    return {"_target_": "deta.tracking.environment._git", "_args_": [".", "-c", f"alias.x=!touch {mark}", "x"]}


def in_neck(config: dict[str, Any], mark: str) -> None:
    config["model"]["neck"] = shell(mark)


def in_transform(config: dict[str, Any], mark: str) -> None:
    config["data"]["val_transform"] = {"_target_": "deta.data.Compose", "transforms": [shell(mark)]}


def in_postprocess(config: dict[str, Any], mark: str) -> None:
    config["postprocess"] = shell(mark)


def in_training_transform(config: dict[str, Any], mark: str) -> None:
    config["data"]["train_transform"] = shell(mark)


def in_evaluator(config: dict[str, Any], mark: str) -> None:
    config["evaluator"] = {**shell(mark), "_partial_": True}


def as_interpolation(config: dict[str, Any], mark: str) -> None:
    config["model"]["hidden_dim"] = f"${{oc.create:{{_target_: os.mkdir, path: {mark}}}}}"


def secret_in_a_path(config: dict[str, Any], mark: str) -> None:
    config["data"]["shards"] = "s3://nowhere/${oc.env:HOME}"


PREDICT, EVAL, CONVERT = "predict", "eval", "convert"


@pytest.mark.parametrize(
    ("command", "change"),
    [
        *((PREDICT, change) for change in (in_transform, in_postprocess, as_interpolation)),
        *((EVAL, change) for change in (in_training_transform, in_evaluator, secret_in_a_path)),
        (CONVERT, in_neck),
    ],
)
def test_a_checkpoint_that_wants_to_run_something_is_refused(
    trained: Run, tmp_path: Path, command: str, change: Change
) -> None:
    path = changed(trained, tmp_path, change)
    words = {
        PREDICT: [f"ckpt={path}", f"source={photo(tmp_path / 'a.png', height=64, width=64)}"],
        EVAL: [f"ckpt={path}"],
        CONVERT: ["direction=to_release", f"source={path}", f"target={tmp_path}/MARK"],
    }[command]
    place = [] if command == CONVERT else [f"hydra.run.dir={tmp_path}/out"]
    message = fail(command, *words, *place)
    assert "evil.ckpt" in message
    assert "trusted=" not in message
    assert os.environ["HOME"] not in message.replace(str(tmp_path), "")
    assert not (tmp_path / "MARK").exists()


def with_remote_shards(config: dict[str, Any], mark: str) -> None:
    config["data"] |= {"source": "shards", "shards": "s3://bucket/x"}


def with_many_readers(config: dict[str, Any], mark: str) -> None:
    config["data"]["num_workers"] = 1_000_000


def test_an_evaluation_reaches_no_further_than_its_user_says(trained: Run, tmp_path: Path) -> None:
    for change, setting in ((with_remote_shards, "data.shards=s3://"), (with_many_readers, "data.num_workers=1000000")):
        message = fail("eval", f"ckpt={changed(trained, tmp_path, change)}", f"hydra.run.dir={tmp_path}/out")
        assert f"evil.ckpt asks for '{setting}" in message
        assert f"give {setting.partition('=')[0]}=... yourself" in message
    succeed("eval", f"ckpt={tmp_path}/evil.ckpt", "data.num_workers=0", f"hydra.run.dir={tmp_path}/out")


FILES: dict[str, object] = {
    "text": b"epoch: 3\n" * 100,
    "empty": b"",
    "empty dictionary": {},
    "list": [1, 2],
    "numbers": {"model": {"a": 3}},
    "program": {"model": {"a": torch.ones(1)}, "x": eval},
}
SQUEEZENET = ("experiment=deta_bccd_squeezenet", "logger=file", "data=shapes")


@pytest.mark.parametrize(
    ("name", "suffix", "words"),
    [
        ("text", "ckpt", ("predict", "ckpt=FILE", "source=IMAGE")),
        ("list", "ckpt", ("eval", "ckpt=FILE")),
        ("numbers", "pth", ("convert", "experiment=deta_shapes", "source=FILE", "target=MARK")),
        ("empty", "ckpt", ("train", *TINY_TRAINING, "ckpt=FILE")),
        ("empty dictionary", "ckpt", ("train", *TINY_TRAINING, "weights=FILE")),
        ("program", "pth", ("train", *SQUEEZENET, "model.backbone.weights=FILE")),
        ("text", "safetensors", ("train", *SQUEEZENET, "model.backbone.weights=FILE")),
    ],
)
def test_a_wrong_file_is_one_message_with_its_name_wherever_it_is_given(
    tmp_path: Path, name: str, suffix: str, words: tuple[str, ...]
) -> None:
    content, path = FILES[name], tmp_path / f"wrong.{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    places = {"FILE": path, "IMAGE": photo(tmp_path / "a.png", height=64, width=64), "MARK": tmp_path / "MARK"}
    for word, place in places.items():
        words = tuple(each.replace(word, str(place)) for each in words)
    message = fail(*words, *(() if words[0] == "convert" else (f"hydra.run.dir={tmp_path}/out",)))
    assert path.name in message
    assert not (tmp_path / "MARK").exists()
