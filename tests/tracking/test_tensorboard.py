"""Event files, read as TensorBoard reads them."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from deta.tracking import tensorboard
from deta.tracking.tensorboard import FOLDER, TensorBoardTracker


def test_a_continued_run_hides_what_its_earlier_part_logged_after_the_checkpoint(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, end, shift in ((0, 4, 0.0), (2, 6, 0.5)):
        tracker = TensorBoardTracker(folder=tmp_path)
        if start:
            tracker.continue_at(start)
        tracker.log_hyperparams({"optimizer": {"lr": 0.1, "betas": [1, 2]}})
        for step in range(start, end):
            tracker.log_metrics({"val/AP": step + shift}, step)
        tracker.log_pictures("val/pictures", [Image.new("RGB", (8, 8))], step=start)
        tracker.log_table("val/classes", ["class", "AP"], [["cat|dog", 0.5], ["cow", None]], step=start)
        tracker.finish()
        assert not tracker.is_broken
    found = events.EventAccumulator(str(tmp_path / FOLDER)).Reload()
    values = [(event.step, event.value) for event in found.Scalars("val/AP")]
    assert values == [(0, 0.0), (1, 1.0), (2, 2.5), (3, 3.5), (4, 4.5), (5, 5.5)]
    assert found.Tags()["images"] == ["val/pictures"]
    (table,) = found.Tensors("val/classes/text_summary")[-1:]
    assert r"|cat\|dog|0.5000|" in table.tensor_proto.string_val[0].decode()


def test_a_tracker_that_fails_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / FOLDER).write_text("a file in the way")
    tracker = TensorBoardTracker(folder=tmp_path)
    with caplog.at_level(logging.WARNING, logger="deta"):
        for step in range(3):
            tracker.log_metrics({"val/AP": 0.5}, step)
    (record,) = caplog.records
    assert record.getMessage().startswith("TensorBoard failed (FileExistsError")
    assert record.getMessage().endswith("the training goes on without it, metrics.jsonl and metrics.csv stay complete")


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"^logger=tensorboard needs .* pip install tensorboard$"):
        TensorBoardTracker(folder=tmp_path)
