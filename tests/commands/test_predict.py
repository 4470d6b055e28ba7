"""``deta predict`` on photographs as users have them."""

import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deta.training.checkpoint import read_checkpoint
from tests.commands.conftest import Run
from tests.commands.running import Outcome, deta, fail, succeed
from tests.inference.test_video import video

SHAPES = ("circle", "square", "triangle", "ring", "cross", "star")


def photo(path: Path, *, height: int = 90, width: int = 120, mode: str = "RGB") -> Path:
    """Write a picture of random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def deep_photo(path: Path) -> Path:
    """Write a PNG with 16 bits of grey."""
    pixels = np.random.default_rng(0).integers(0, 65536, (90, 120), dtype=np.uint16)
    Image.fromarray(pixels).save(path)
    return path


def cut_photo(path: Path) -> Path:
    """Write a JPEG that ends in the middle."""
    content = photo(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def predict(run: Run, source: object, folder: Path, *words: str) -> tuple[list[dict[str, Any]], Outcome]:
    """The records that the command wrote, of all detections unless words say otherwise, and what it said."""
    given = [f"ckpt={run.folder}", f"source='{source}'", f"hydra.run.dir={folder}", "min_score=0", *words]
    outcome = succeed("predict", *given)
    return json.loads((folder / "predictions.json").read_text()), outcome


def test_a_photo_gives_boxes_in_its_pixels_and_a_picture(trained: Run, tmp_path: Path) -> None:
    path = photo(tmp_path / "my photo.jpg")
    records, outcome = predict(trained, path, tmp_path / "out")
    assert records
    assert {record["file_name"] for record in records} == {str(path)}
    assert {record["category_id"] for record in records} <= {2, 5, 11, 17, 23, 42}
    for record in records:
        left, top, width, height = record["bbox"]
        assert -0.01 <= left <= left + width <= 120.01
        assert -0.01 <= top <= top + height <= 90.01
        assert 0 <= record["score"] <= 1
    with Image.open(tmp_path / "out" / "pictures" / "my photo.jpg") as image:
        image.load()
    number = len(records)
    assert f"Model: {run_file(trained)}\n{number} detections: {tmp_path}/out/boxes.json\n" in outcome.out
    assert f"{number:,} of {number:,} boxes reach 0 in 1 image" in outcome.out
    (entry,) = json.loads((tmp_path / "out" / "boxes.json").read_text())
    assert len(entry["boxes"]) == number
    assert {box["name"] for box in entry["boxes"]} <= set(SHAPES)
    assert min(min(box["xyxy"]) for box in entry["boxes"]) >= 0


def run_file(run: Run) -> Path:
    """The checkpoint that commands take of a run."""
    return run.folder / "checkpoints" / "best.ckpt"


def test_min_score_leaves_boxes_out_of_every_file_and_nothing_is_copied_unmarked(trained: Run, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    words = ["min_score=0.99", "outputs=[json,coco,csv,yolo,crops,jsonl]"]
    records, outcome = predict(trained, path, tmp_path / "out", *words)
    assert records == []
    assert json.loads((tmp_path / "out" / "boxes.json").read_text())[0]["boxes"] == []
    assert len((tmp_path / "out" / "boxes.csv").read_text().splitlines()) == 1
    assert not (tmp_path / "out" / "pictures").exists()
    assert not (tmp_path / "out" / "crops").exists()
    assert re.search(r"0 of \d+ boxes reach 0\.99, best 0\.\d+ in 1 image: there is nothing to draw", outcome.out)


def test_a_video_gives_an_annotated_video(trained: Run, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV, extra video, is not installed")
    path = video(tmp_path / "clip.mp4", frames=3)
    records, outcome = predict(trained, path, tmp_path / "out")
    assert {record["image_id"] for record in records} == {1, 2, 3}
    assert f"3 annotated frames: {tmp_path}/out/video.mp4" in outcome.out
    assert not (tmp_path / "out" / "pictures").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_watch_that_is_stopped_leaves_whole_files(trained: Run, tmp_path: Path, number: int, code: int) -> None:
    photo(tmp_path / "in" / "a.png")
    lines, is_over = tmp_path / "out" / "boxes.jsonl", threading.Event()

    def stop() -> None:
        while not is_over.wait(0.02):
            if lines.is_file() and lines.read_text().endswith("\n"):
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=stop)
    thread.start()
    words = (f"hydra.run.dir={tmp_path}/out", "watch=true", "outputs=[json,jsonl]")
    outcome = deta("predict", str(trained.folder), f"{tmp_path}/in", *words)
    is_over.set()
    thread.join()
    assert outcome.code == code, outcome.err
    assert len(json.loads((tmp_path / "out" / "boxes.json").read_text())) == 1
    assert (" in 1 image" in outcome.out) == (number == signal.SIGINT)


def test_pictures_of_a_folder_a_glob_and_a_batch_get_the_same_boxes(trained: Run, tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.PNG", "sub/deep/c.png"):
        photo(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    found = {}
    sources = {"folder": "in", "glob": "in/**/*.[pP][nN][gG]", "batch": "in"}
    for name, source in sources.items():
        size = "batch_size=2" if name == "batch" else "batch_size=1"
        records, _ = predict(trained, tmp_path / source, tmp_path / name, size, "draw=false")
        found[name] = {(record["file_name"], tuple(np.round(record["bbox"], 2))) for record in records}
        assert not (tmp_path / name / "pictures").exists()
    assert len({file for file, _ in found["folder"]}) == 3
    assert found["folder"] == found["glob"] == found["batch"]


def test_images_of_one_name_in_two_folders_get_two_pictures(trained: Run, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        photo(tmp_path / "in" / folder / "same.png")
    predict(trained, tmp_path / "in", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "pictures").iterdir())
    assert names == ["2_same.jpg", "same.jpg"]


@pytest.mark.parametrize(("words", "place"), [(("outputs=[yolo]",), "labels"), (("draw=true",), "pictures")])
def test_files_of_two_predictions_are_not_mixed(
    trained: Run, tmp_path: Path, words: tuple[str, ...], place: str
) -> None:
    (tmp_path / "out" / place).mkdir(parents=True)
    (tmp_path / "out" / place / "of_another").touch()
    given = (f"ckpt={trained.folder}", f"source={photo(tmp_path / 'a.png')}", f"hydra.run.dir={tmp_path}/out", *words)
    assert f"{tmp_path}/out/{place} holds files of an earlier prediction" in fail("predict", *given)


def test_predictions_are_those_of_the_evaluation(trained: Run, workplace: Path, tmp_path: Path) -> None:
    succeed("eval", f"ckpt={trained.folder}", "data.eval_batch_size=1", f"hydra.run.dir={tmp_path}/eval")
    expected = json.loads((tmp_path / "eval" / "predictions.json").read_text())
    source = next((workplace / "cache").glob("shapes-8-4-*")) / "val"
    records, _ = predict(trained, source, tmp_path / "predict", "draw=false", "batch_size=1")

    def in_order(entries: list[dict[str, Any]]) -> list[tuple[float, ...]]:
        return sorted((entry["image_id"], entry["category_id"], entry["score"], *entry["bbox"]) for entry in entries)

    assert len(expected) > 4
    np.testing.assert_allclose(in_order(records), in_order(expected), rtol=1e-4, atol=1e-4)  # float32


def test_grey_of_16_bits_is_refused_until_it_is_allowed(trained: Run, tmp_path: Path) -> None:
    path = deep_photo(tmp_path / "deep.png")
    message = fail("predict", f"ckpt={trained.folder}", f"source={path}", f"hydra.run.dir={tmp_path}/out")
    assert "deep.png has 16 bits per pixel; convert it to 8 bits or set scale_16bit=true" in message
    records, _ = predict(trained, path, tmp_path / "out", "scale_16bit=true")
    assert records


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_other_kinds_of_colour_work(trained: Run, tmp_path: Path, mode: str) -> None:
    records, _ = predict(trained, photo(tmp_path / "a.jpg", mode=mode), tmp_path / "out")
    assert records


def test_a_damaged_image_stops_the_command_or_is_counted(trained: Run, tmp_path: Path) -> None:
    good, bad = photo(tmp_path / "in" / "good.jpg"), cut_photo(tmp_path / "in" / "bad.jpg")
    message = fail("predict", f"ckpt={trained.folder}", f"source={tmp_path}/in", f"hydra.run.dir={tmp_path}/out")
    assert f"image {bad} cannot be decoded" in message
    records, outcome = predict(trained, tmp_path / "in", tmp_path / "out", "on_bad_image=skip")
    assert {record["file_name"] for record in records} == {str(good)}
    assert "boxes reach 0 in 1 image" in outcome.out
    assert f"1 image was skipped as unusable: {bad}" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source=nothing.jpg"], "source=nothing.jpg does not exist"),
        (["source='nothing*'"], "source=nothing*: no such file or folder, and no image fits it as a glob"),
        (["source=a.png", "outputs=yolo"], "outputs must be a list: write outputs=[yolo]"),
        (["source=empty"], "source=empty: the folder holds no image"),
        (["source="], "source=: it has no value: give source=<value>"),
        (
            ["source=null"],
            "source must name an image file, a folder, a quoted glob, a list of images (.txt)",
        ),
        (["source=a.png", "device=gpu"], "device must be one of auto, cpu, cuda, got 'gpu'"),
        (["source=a.png", "min_score=30"], "min_score must be in [0, 1], got 30"),
        (["source=a.png", "batch_size=0"], "batch_size must be at least 1, got 0"),
        (["source=a.png", "outputs=[xml]"], "outputs: each must be one of coco, crops, csv, json, jsonl, yolo, got"),
        (
            ["source=a.png", "watch=true"],
            "watch=true waits for images that arrive in a folder, and source=",
        ),
        (["source=.", "watch=true"], "out lies in the folder that is watched"),
        (["source=a.png", "watch_seconds=3"], "watch_seconds=3 ends a watch, which watch=true begins"),
        (["source=a.png", "on_bad_image=ignore"], "on_bad_image must be one of error, skip, got 'ignore'"),
    ],
)
def test_a_mistake_is_named(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    photo(tmp_path / "a.png")
    assert message in fail("predict", f"ckpt={trained.folder}", *words, f"hydra.run.dir={tmp_path}/out")


def test_a_missing_checkpoint_is_named_without_a_look_at_the_images(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    message = fail("predict", "ckpt=nowhere", f"source={tmp_path}/a.png", f"hydra.run.dir={tmp_path}/out")
    assert "nowhere does not exist: give a checkpoint file or the directory of a run" in message


def test_what_is_no_image_in_a_folder_is_counted_and_named(trained: Run, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.jfif").rename(tmp_path / "in" / "a.JPE")
    (tmp_path / "in" / "._a.JPE").write_bytes(bytes.fromhex("00051607") + bytes(100))
    records, outcome = predict(trained, tmp_path / "in", tmp_path / "out", "draw=false")
    assert {record["file_name"] for record in records} == {str(tmp_path / "in" / "a.JPE")}
    assert f"1 file was left out, as no image or as lying elsewhere: {tmp_path}/in/._a.JPE" in outcome.out


@pytest.mark.parametrize(("exif", "height", "width"), [("apply", 120, 90), ("ignore", 90, 120)])
def test_boxes_are_in_the_frame_that_the_orientation_is_said_to_give(
    trained: Run, tmp_path: Path, exif: str, height: int, width: int
) -> None:
    path = photo(tmp_path / "a.jpg")
    tags = Image.Exif()
    tags[0x0112] = 6
    with Image.open(path) as image:
        image.save(path, exif=tags)
    records, outcome = predict(trained, path, tmp_path / "out", f"exif={exif}")
    with Image.open(tmp_path / "out" / "pictures" / "a.jpg") as picture:
        assert picture.height / picture.width == height / width  # it is drawn larger
    lower, right = (max(r["bbox"][k] + r["bbox"][k + 2] for r in records) for k in (1, 0))
    assert lower <= height + 0.01
    assert right <= width + 0.01
    assert "1 image has an EXIF orientation," in outcome.out
    assert f"(exif={exif})" in outcome.out


def test_an_image_over_the_limit_names_the_key(trained: Run, tmp_path: Path) -> None:
    words = [f"ckpt={trained.folder}", f"source={photo(tmp_path / 'a.png')}", f"hydra.run.dir={tmp_path}/out"]
    message = fail("predict", *words, "max_image_pixels=10000")
    assert "a.png has 10800 pixels, at most 10000 are accepted" in message
    succeed("predict", *words, "max_image_pixels=10800")


def test_the_checkpoint_is_left_as_it_was(trained: Run) -> None:
    assert read_checkpoint(trained.folder).config["data"]["num_train"] == 8
