"""What is kept of finished runs."""

import json
from pathlib import Path

import pytest

from scripts.keep_results import keep


def make_run(folder: Path, *, is_done: bool) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"run_dir: {folder}\ncache: {Path.home()}/.cache/deta\nseed: 3\n")
    (folder / "environment.json").write_text(json.dumps({"command": [str(folder)], "seed": 3, "started": 1.0}))
    (folder / "metrics.csv").write_text("step,val/AP\n5,0.25\n")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    (folder / "evaluations" / "nms").mkdir(parents=True)
    (folder / "evaluations" / "nms" / "metrics.json").write_text('{"AP": 0.25}')
    if is_done:
        (folder / "done.json").write_text('{"AP": 0.25}')


def test_records_of_finished_runs_are_kept_without_weights_and_without_places_of_the_machine(tmp_path: Path) -> None:
    runs, target = tmp_path / "runs", tmp_path / "kept"
    make_run(runs / "a", is_done=True)
    make_run(runs / "b", is_done=False)
    assert keep(runs, target) == (["a"], ["b"])
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == {
        f"a/{name}"
        for name in ("config.yaml", "environment.json", "metrics.csv", "done.json", "evaluations/nms/metrics.json")
    }
    assert (target / "a" / "config.yaml").read_text() == "run_dir: <run>\ncache: ~/.cache/deta\nseed: 3\n"
    assert json.loads((target / "a" / "environment.json").read_text()) == {"seed": 3}


def test_places_of_a_run_that_has_been_moved_are_left_out_too(tmp_path: Path) -> None:
    make_run(tmp_path / "before" / "a", is_done=True)
    (tmp_path / "before").rename(tmp_path / "after")
    keep(tmp_path / "after", tmp_path / "kept")
    assert str(tmp_path) not in (tmp_path / "kept" / "a" / "config.yaml").read_text()


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        keep(tmp_path, tmp_path / "kept")
