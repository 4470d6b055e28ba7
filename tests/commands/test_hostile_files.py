"""Commands on checkpoints and weights that somebody made or damaged: one message, nothing else happens."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.engine.checkpoint import AtomicCheckpointIO, read_training
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, deta, fail
from tests.commands.test_predict import photo

Change = Callable[[dict[str, Any], str], None]


def changed(trained: Run, folder: Path, change: Change) -> Path:
    """A copy of the last checkpoint whose configuration is changed, with right checksums."""
    content = read_training(trained.folder / "checkpoints" / "last.ckpt")
    change(content["deta"]["config"], str(folder / "MARK"))
    AtomicCheckpointIO().save_checkpoint(content, folder / "evil.ckpt")
    return folder / "evil.ckpt"


def shell(mark: str) -> dict[str, Any]:
    return {"_target_": "deta.engine.environment._git", "_args_": [".", "-c", f"alias.x=!touch {mark}", "x"]}


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
        *((PREDICT, change) for change in (in_neck, in_transform, in_postprocess, as_interpolation)),
        *((EVAL, change) for change in (in_neck, in_training_transform, in_evaluator, secret_in_a_path)),
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


FILES: dict[str, object] = {
    "text": b"epoch: 3\n" * 100,
    "empty": b"",
    "half": b"PK\x03\x04" + bytes(100),
    "empty dictionary": {},
    "list": [1, 2],
    "numbers": {"model": {"a": 3}},
    "program": {"model": {"a": torch.ones(1)}, "x": eval},
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_one_message_with_its_name_wherever_it_is_given(tmp_path: Path, name: str) -> None:
    content, path = FILES[name], tmp_path / "wrong.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
        (tmp_path / "wrong.safetensors").write_bytes(content)
    else:
        torch.save(content, path)
        torch.save(content, tmp_path / "wrong.safetensors")
    image = photo(tmp_path / "a.png", height=64, width=64)
    out = f"hydra.run.dir={tmp_path}/out"
    backbone = ("experiment=deta_bccd_squeezenet", "logger=file", "data=shapes", out)
    messages = [
        fail("predict", f"ckpt={path}", f"source={image}", out),
        fail("eval", f"ckpt={path}", out),
        fail("convert", "experiment=deta_shapes", f"source={path}", f"target={tmp_path}/new.ckpt"),
        fail("train", *TINY_TRAINING, f"ckpt={path}", f"hydra.run.dir={tmp_path}/run"),
        fail("train", *backbone, f"model.backbone.weights={path}"),
        fail("train", *backbone, f"model.backbone.weights={tmp_path}/wrong.safetensors"),
    ]
    assert all("wrong." in message and "Traceback" not in message for message in messages)
    assert not (tmp_path / "new.ckpt").exists()


def test_weights_of_another_model_are_named_before_training_goes_on(own_run: Path) -> None:
    outcome = deta("train", f"ckpt={own_run}", "trainer.max_epochs=2", "model.decoder.num_layers=3")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert "does not fit DetectionModule" in outcome.err
