"""Writing a checkpoint in a fit and reading it again."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from deta.training.callbacks import BestCheckpoint, ResumeCheckpoint, WeightAveraging
from deta.training.checkpoint import (
    Checkpoint,
    find_checkpoint,
    find_resumable,
    keep_weights,
    load_weights,
    read_checkpoint,
)
from tests.models.tiny import images, tiny_detector
from tests.training.tiny import CONFIG, detection_module, is_same, make_trainer, shapes, weights


class Harmful:
    """Leaves a file behind when it is unpickled by a careless reader."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A run directory with ``last.ckpt``, and the detector in its final state."""
    folder = tmp_path_factory.mktemp("run")
    data = shapes(cache)
    module = detection_module(data)
    callback = ModelCheckpoint(
        dirpath=folder / "checkpoints", filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    make_trainer(folder, callbacks=[callback], limit_val_batches=0).fit(module, datamodule=data)
    return folder, module.detector


def empty_checkpoint(weights: dict[str, torch.Tensor]) -> Checkpoint:
    return Checkpoint(Path("some.ckpt"), weights, config={}, category_ids=(1,), category_names=("thing",))


def test_a_checkpoint_says_what_was_trained_on_what(trained: tuple[Path, torch.nn.Module]) -> None:
    checkpoint = read_checkpoint(trained[0])
    assert checkpoint.path == trained[0] / "checkpoints" / "last.ckpt"
    assert checkpoint.config == CONFIG
    assert checkpoint.category_ids == (2, 5, 11, 17, 23, 42)
    assert checkpoint.category_names == ("circle", "square", "triangle", "star", "ring", "cross")


def test_restored_weights_give_identical_outputs(trained: tuple[Path, torch.nn.Module]) -> None:
    folder, detector = trained
    other = tiny_detector(num_classes=6, seed=1)
    assert load_weights(other, read_checkpoint(folder)) == []
    with torch.no_grad():
        expected, found = (network.eval()(*images()) for network in (detector, other))
    assert torch.equal(expected.final.logits, found.final.logits)
    assert torch.equal(expected.final.boxes, found.final.boxes)


def test_a_run_directory_means_its_best_checkpoint_and_else_its_last(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "last.ckpt").touch()
    assert find_checkpoint(tmp_path).name == "last.ckpt"
    (folder / "best.ckpt").touch()
    assert find_checkpoint(tmp_path).name == "best.ckpt"
    assert find_checkpoint(tmp_path, name="last").name == "last.ckpt"
    assert find_checkpoint(folder / "best.ckpt") == folder / "best.ckpt"


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: give a checkpoint file or"):
        find_checkpoint(tmp_path / "nowhere")
    (tmp_path / "sweep" / "tau=0.5" / "checkpoints").mkdir(parents=True)
    (tmp_path / "sweep" / "tau=0.5" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(
        FileNotFoundError, match=r"sweep is a folder of 1 run: give one of them, such as .*sweep/tau=0.5"
    ):
        find_checkpoint(tmp_path / "sweep")
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoints/best.ckpt"):
        find_checkpoint(tmp_path)


def test_a_folder_of_checkpoints_is_named_with_what_to_give_instead(tmp_path: Path) -> None:
    for folder, advice in (
        (tmp_path / "checkpoints", f"give its run, {tmp_path}, or"),
        (tmp_path / "x", "give one of"),
    ):
        folder.mkdir()
        (folder / "last.ckpt").touch()
        with pytest.raises(FileNotFoundError, match=f"{advice} .*{folder.name}/last.ckpt"):
            find_checkpoint(folder)


def test_reading_runs_no_code_of_the_file(tmp_path: Path) -> None:
    path, mark = tmp_path / "harmful.ckpt", tmp_path / "mark"
    torch.save({"state_dict": {}, "deta": Harmful(mark)}, path)
    with pytest.raises(ValueError, match=r"harmful.ckpt cannot be read .* more than plain data"):
        read_checkpoint(path)
    assert not mark.exists()
    with path.open("wb") as file:
        pickle.dump(Harmful(mark), file, protocol=2)
    with pytest.raises(ValueError, match=r"harmful.ckpt cannot be read"):
        read_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_named(trained: tuple[Path, torch.nn.Module], tmp_path: Path, share: float) -> None:
    content = (trained[0] / "checkpoints" / "last.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: round(share * len(content))])
    with pytest.raises(ValueError, match=r"cut.ckpt cannot be read as a checkpoint: damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [{"model": {}}, {"state_dict": {}}, [1, 2]])
def test_a_checkpoint_of_another_program_is_sent_to_convert(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth is not a deta checkpoint; deta convert"):
        read_checkpoint(tmp_path / "other.pth")


def test_weights_of_another_architecture_are_refused_whole() -> None:
    detector = tiny_detector(seed=0)
    before = weights(detector)
    state = tiny_detector(seed=1).state_dict()
    missing = {name: value for name, value in state.items() if name != "body.encoder.level_embed"}
    with pytest.raises(
        ValueError, match=r"some.ckpt does not fit the model: 1 weight missing: body.encoder.level_embed"
    ):
        load_weights(detector, empty_checkpoint(missing))
    with pytest.raises(ValueError, match=r"1 weight unexpected: mask_head"):
        load_weights(detector, empty_checkpoint({**state, "mask_head": torch.zeros(1)}))
    with pytest.raises(ValueError, match=r"1 weight of another shape: body.encoder.level_embed"):
        load_weights(detector, empty_checkpoint({**state, "body.encoder.level_embed": torch.zeros(1)}))
    assert is_same(weights(detector), before)


def test_heads_of_other_classes_stay_fresh_only_where_that_is_allowed() -> None:
    detector, other = tiny_detector(num_classes=3, seed=0), tiny_detector(num_classes=7, seed=1)
    before = weights(detector)
    checkpoint = empty_checkpoint(other.state_dict())
    with pytest.raises(ValueError, match=r"4 weights of another shape: body.heads.0.class_logits"):
        load_weights(detector, checkpoint)
    fresh = load_weights(detector, checkpoint, allow_new_classes=True)
    assert fresh == [f"body.heads.{layer}.class_logits.{kind}" for layer in (0, 1) for kind in ("bias", "weight")]
    after, source = weights(detector), weights(other)
    for name, value in after.items():
        assert torch.equal(value, before[name] if name in fresh else source[name]), name


@pytest.mark.parametrize("is_averaged", [False, True])
def test_a_run_that_keeps_weights_alone_can_be_used_but_not_continued(
    cache: Path, tmp_path: Path, is_averaged: bool
) -> None:
    folder = tmp_path / "checkpoints"
    best = BestCheckpoint(dirpath=folder, filename="best", monitor="val/AP", mode="max", save_on_train_epoch_end=False)
    callbacks = [best, ResumeCheckpoint(folder=folder), *([WeightAveraging(decay=0.5)] if is_averaged else [])]
    data = shapes(cache)
    make_trainer(tmp_path, callbacks=callbacks).fit(detection_module(data), datamodule=data)
    before, size = read_checkpoint(tmp_path), (folder / "best.ckpt").stat().st_size
    keep_weights(tmp_path)
    after = read_checkpoint(tmp_path)
    assert is_same(dict(before.weights), dict(after.weights))
    assert after.category_names == before.category_names
    assert [path.name for path in folder.iterdir()] == ["best.ckpt"]
    assert (folder / "best.ckpt").stat().st_size < 0.6 * size
    with pytest.raises(
        ValueError, match=rf"{tmp_path} has kept .*\(keep=weights\).* weights={tmp_path} starts another"
    ):
        find_resumable(tmp_path)
