"""What a report of a sweep calls its cells, and what it says beside their numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deta.runs.cells import add_cells
from deta.studies.collect import collect
from tests.studies.folders import HUNGARIAN, TOPK, config, write_run


def test_a_choice_that_a_sweep_varies_is_the_axis_of_all_that_it_sets(tmp_path: Path) -> None:
    parts: dict[str, dict[str, Any]] = {
        "deta": {},
        "detr": {"assigner": HUNGARIAN, "rematch": "per_layer", "postprocess": TOPK},
    }
    cells: dict[str, list[str]] = {}
    for system, own in parts.items():
        for seed in (0, 1):
            write_run(tmp_path / f"{system}-{seed}", config(seed=seed, **own), ap=0.3)
            cells[f"{system}-{seed}"] = [f"system={system}", "data.num_workers=0", f"seed={seed}"]
    add_cells(tmp_path, cells)
    made = {system: config(**own) for system, own in parts.items()}

    def compose(words: Sequence[str]) -> dict[str, Any]:
        return {**made[words[0].removeprefix("system=")], "seed": int(words[-1][-1])}

    comparison = collect(tmp_path, compose=compose, base={"system": "detr"})
    assert (comparison.axes[0].name, comparison.axes[0].levels) == ("system", ("deta", "detr"))
    assert [dict(cell.factors) for cell in comparison.cells] == [
        {"system": "deta", "postprocess": "nms"},
        {"system": "detr", "postprocess": "topk"},
    ]
    assert comparison.beyond == ()
    for name in cells:
        path = tmp_path / name / "config.yaml"
        path.write_text(f"{path.read_text()}optimizer:\n  lr: {1 + ('detr' in name)}\n")
    also = "along system also optimizer.lr differ: no difference is owed to system alone"
    assert collect(tmp_path, compose=compose).beyond == (also,)  # as of an own file that was edited in between
    for name, part in made.items():
        part["optimizer"] = {"lr": 1 + (name == "detr")}
    assert collect(tmp_path, compose=compose).beyond == ()
    add_cells(tmp_path, {name: [words[0], "optimizer.lr=1", words[-1]] for name, words in cells.items()})
    assert collect(tmp_path, compose=compose).beyond == (also,)  # a word of the sweep itself


def test_a_run_that_went_on_with_other_settings_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(), ap=0.3)
    folder = write_run(tmp_path / "b", config(tau=0.5), ap=0.3)
    for part in range(1, 11):
        tau = 0.9 if part == 10 else 0.8
        (folder / f"config-{part}.yaml").write_text((folder / "config.yaml").read_text().replace("0.5", f"{tau}"))
    assert collect(tmp_path).beyond == (
        "b went on with other settings: criterion.rules.layers.assigner.tau 0.5 -> 0.9",
    )


def test_a_done_run_without_a_validation_is_a_note(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(), ap=0.3)
    folder = write_run(tmp_path / "b", config(tau=0.5), ap=None)
    (folder / "done.json").write_text('{"step": 10, "epoch": 1}')
    (note,) = (note for note in collect(tmp_path).notes if "evaluated" in note)
    assert note.startswith("1 run was never evaluated: tau=0.5 seed=0; a validation comes every trainer.check_val_")


def test_runs_that_started_from_another_are_told_apart_from_those_that_started_afresh(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {**config(), "ckpt": None}, ap=0.3)
    own = {**config(seed=1), "ckpt": str(tmp_path / "b")}
    write_run(tmp_path / "b", own, ap=0.3)  # written at its end, when it continued itself
    assert collect(tmp_path).beyond == ()
    write_run(tmp_path / "c", {**config(seed=2), "ckpt": "/runs/base"}, ap=0.3)
    assert collect(tmp_path).beyond == ("the runs started differently: afresh, from /runs/base",)
