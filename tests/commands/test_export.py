"""``deta export``: a file that runs without deta, checked beside the model."""

import json
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from deta.commands import export
from deta.export.files import KEY
from tests.commands.running import fail, succeed
from tests.conftest import ROOT
from tests.export.tiny import NAMES, write_checkpoint
from tests.systems.composed import DENSE, REGIONS, SYSTEMS

FIXED = ("batch=1", "image_size=[96,128]")
CHECKED = re.compile(r"Checked (\d+) detections? in (\d+) images?.*: corners differ by at most ([\d.]+) px")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small FCOS."""
    return write_checkpoint("fcos", tmp_path_factory.mktemp("fcos") / "fcos.ckpt")


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> tuple[Path, str]:
    """Its file for one picture of one size, and what the command said."""
    outcome = succeed("export", f"ckpt={checkpoint}", *FIXED)
    return checkpoint.with_suffix(".onnx"), outcome.out


def description(path: Path) -> dict[str, Any]:
    """What a file says of itself, as its users read it."""
    if path.suffix == ".pt2":
        extra = {f"{KEY}.json": ""}
        torch.export.load(path, extra_files=extra)
        told: dict[str, Any] = json.loads(extra[f"{KEY}.json"])
    else:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        told = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    return told


def num_checked(said: str) -> int:
    found = CHECKED.search(said)
    assert found, said
    assert float(found[3]) <= 0.5
    return int(found[1])


def test_a_file_is_written_beside_the_checkpoint_and_checked(exported: tuple[Path, str]) -> None:
    path, said = exported
    assert f"Wrote {path}" in said
    assert "1 image, 96 x 128 pixels" in said
    assert num_checked(said) >= 50


def test_a_file_says_what_it_is_and_not_where_it_was_made(exported: tuple[Path, str]) -> None:
    path, _ = exported
    told = description(path)
    assert told["classes"] == list(NAMES)
    assert (told["batch"], told["image_size"], told["nms"]) == (1, [96, 128], "inside")
    assert told["normalization"]["inside"] is True
    assert told["normalization"]["multiple"] == 32
    assert told["outputs"] == ["boxes", "scores", "labels"]
    assert b"/src/deta/" not in path.read_bytes()
    assert {node.domain for node in onnx.load(path).graph.node} == {""}


def test_the_program_of_the_documents_prints_the_detections(exported: tuple[Path, str], tmp_path: Path) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block
    lines = [line for line in block[1].splitlines() if line]
    assert len(lines) <= 16
    assert "deta" not in "".join(line for line in lines if "import" in line)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    said = StringIO()
    with (
        mock.patch.object(sys, "argv", ["program", str(exported[0]), str(tmp_path / "photo.png")]),
        redirect_stdout(said),
    ):
        exec(compile(block[1], "docs/export.md", "exec"), {})
    printed = said.getvalue().splitlines()
    assert printed
    for line in printed:
        assert re.fullmatch(rf"({'|'.join(NAMES)}) [01]\.\d\d \[[-\d., ]+\]", line), line


def test_a_file_that_detects_otherwise_is_not_left(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(values: tuple[Tensor, ...]) -> list[Tensor]:
        boxes, scores = torch.zeros(1, 3, 4), torch.full((1, 3), 0.9)
        return [boxes, scores, torch.zeros(1, 3, dtype=torch.int64)]

    monkeypatch.setattr(export, "trace", lambda *_, **__: None)
    monkeypatch.setattr(export, "least_side", lambda _: 64)
    monkeypatch.setattr(export, "write", lambda _, __, path, **___: path.write_bytes(b"file"))
    monkeypatch.setattr(export, "load", lambda *_: shifted)
    message = fail("export", f"ckpt={checkpoint}", f"target={tmp_path}/x.onnx", *FIXED)
    assert f"{tmp_path}/x.onnx was not written: its file finds other boxes than the model" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("format=trt",), "format must be one of"),
        (("batch=0",), "batch must be"),
        (("batch=some",), "batch must be dynamic or a number of images from 1, got 'some'"),
        (("image_size=640",), "image_size must be dynamic or [height,width] in pixels, got 640"),
        (("image_size=[640,20]",), "image_size must be"),
        (("target=x.pt2",), "target=x.pt2: a file of format=onnx is called *.onnx"),
        (("target=nowhere/x.onnx",), "the folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_written_is_one_message(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fail("export", f"ckpt={checkpoint}", *words)


def test_a_file_that_exists_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("mine")
    assert "exists; remove it" in fail("export", f"ckpt={checkpoint}", f"target={tmp_path}/x.onnx")
    assert (tmp_path / "x.onnx").read_text() == "mine"


def test_packages_that_are_missing_are_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deta.export.files.find_spec", lambda name: None if name == "onnxscript" else name)
    assert "pip install onnxscript, or the extra export" in fail("export", f"ckpt={checkpoint}", "target=x.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS + DENSE + REGIONS)
def test_every_system_gives_a_file_for_any_batch_and_any_size(system: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(system, tmp_path / "x.ckpt")
    # Random weights give dense heads scores so close, or so low, that chance decides what is left: candidates count.
    words = ("nms=outside",) if system in DENSE else ()
    said = succeed("export", f"ckpt={checkpoint}", "min_score=0.2", *words).out
    assert "any number of images, any size" in said
    assert num_checked(said) >= 50


@pytest.mark.slow
def test_a_backbone_whose_pools_round_up_gives_a_file_for_any_size_from_two_rows_of_every_map_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("system=deta", "size=bccd", "model.backbone.weights=null")
    monkeypatch.setattr("tests.export.tiny.words_of", lambda _: words)
    checkpoint = write_checkpoint("deta", tmp_path / "x.ckpt")
    said = succeed("export", f"ckpt={checkpoint}", "min_score=0.2").out
    found = re.search(r"any size from (\d+) pixels on", said)
    assert found
    assert description(tmp_path / "x.onnx")["least_side"] == int(found[1]) > 64


@pytest.mark.slow
@pytest.mark.parametrize("system", ["deta", "detr", "tood", "faster_rcnn"])
def test_a_program_of_pytorch_detects_the_same(system: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(system, tmp_path / "x.ckpt")
    said = succeed("export", f"ckpt={checkpoint}", "format=torch_export", "min_score=0.2").out
    assert num_checked(said) >= 50
    assert description(tmp_path / "x.pt2")["classes"] == list(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["deta", "atss", "faster_rcnn"])
def test_candidates_of_a_file_without_selection_are_those_of_the_model(system: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(system, tmp_path / "x.ckpt")
    said = succeed("export", f"ckpt={checkpoint}", "nms=outside", "batch=1", "image_size=[128,160]").out
    assert num_checked(said) >= 50
    assert description(tmp_path / "x.onnx")["outputs"] == ["boxes", "scores"]
