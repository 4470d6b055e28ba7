"""Studies and sweeps, collected from folders."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from deta.data.fingerprint import recipe_fingerprint
from deta.data.shapes_recipe import ShapesRecipe
from deta.runs.cells import add_cells
from deta.runs.data_record import DataRecord, write_data
from deta.runs.state import RunState, mark_done
from deta.studies.ablation import ablation_table
from deta.studies.collect import collect
from deta.studies.report.heat_map import heat_map
from deta.studies.report.page import page
from deta.studies.results import Cell, Verdict
from tests.studies.folders import HUNGARIAN, TOPK, config, write_plan, write_run


def write_study(folder: Path) -> None:
    """Two cells with two seeds; the cell tau 0.5 is better by 0.02 and 0.04 with NMS, and worse by 0.1 without."""
    write_plan(folder)
    for tau, seed, nms, topk in (
        ("0.6", 0, 0.30, 0.20),
        ("0.6", 1, 0.32, 0.22),
        ("0.5", 0, 0.32, 0.10),
        ("0.5", 1, 0.36, 0.12),
    ):
        write_run(
            folder / f"{tau}-{seed}", config(seed=seed, tau=float(tau)), ap=nms, scores={"nms": nms, "topk": topk}
        )


def levels(cells: tuple[Cell, ...]) -> list[tuple[str, ...]]:
    return [tuple(cell.factors.values()) for cell in cells]


def test_a_base_with_open_selection_is_compared_in_each_selection(tmp_path: Path) -> None:
    write_study(tmp_path)
    comparison = collect(tmp_path, bootstrap=None)
    assert (comparison.name, comparison.title) == ("small", "Does it matter?")
    assert [axis.name for axis in comparison.axes] == ["tau", "postprocess"]
    assert comparison.base == {"tau": "0.6"}
    assert levels(comparison.cells) == [("0.6", "nms"), ("0.5", "nms"), ("0.6", "topk"), ("0.5", "topk")]
    base, other, base_topk, other_topk = comparison.cells
    assert base.difference is None
    assert base_topk.difference is None
    assert base.summary["AP"].mean == pytest.approx(0.31)
    assert base.summary["AP"].std == pytest.approx(0.02 / 2**0.5)
    assert "APl" not in base.summary  # no run defines it
    assert other.difference is not None
    assert other.difference.pairs == pytest.approx({0: 0.02, 1: 0.04})
    assert other.difference.verdict == Verdict.NOISE  # 0.03 ± 12.7 · 0.01
    assert other_topk.difference is not None
    assert other_topk.difference.pairs == pytest.approx({0: -0.1, 1: -0.1})
    assert other_topk.difference.verdict == Verdict.WORSE
    assert not [note for note in comparison.notes if "2 seeds" not in note]


def test_evaluations_without_matches_have_no_interval_over_images_and_a_note_says_so(tmp_path: Path) -> None:
    write_study(tmp_path)
    note = "4 runs are not evaluated by COCO's rules: no interval over images"
    for folder in (tmp_path / "0.6-0", tmp_path):  # as a sweep and as a study
        assert any(text.endswith("no interval over images") for text in collect(folder).notes)
    comparison = collect(tmp_path)
    differences = [cell.difference for cell in comparison.cells if cell.difference is not None]
    assert [difference.over_images for difference in differences] == [None, None]
    assert note in comparison.notes


def test_a_base_with_a_selection_is_the_only_one(tmp_path: Path) -> None:
    write_study(tmp_path)
    write_plan(tmp_path, base_cell={"tau": 0.6, "postprocess": "topk"})
    comparison = collect(tmp_path, bootstrap=None)
    assert comparison.base == {"tau": "0.6", "postprocess": "topk"}
    assert levels(comparison.cells)[0] == ("0.6", "topk")
    pairs = {tuple(cell.factors.values()): cell.difference and cell.difference.pairs for cell in comparison.cells}
    assert pairs["0.6", "topk"] is None
    assert pairs["0.6", "nms"] == pytest.approx({0: 0.1, 1: 0.1})
    assert pairs["0.5", "nms"] == pytest.approx({0: 0.12, 1: 0.14})


def test_runs_that_are_missing_are_named_and_take_no_part(tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "0.5-1" / "done.json").unlink()
    (tmp_path / "0.6-0").rename(tmp_path / "elsewhere")
    comparison = collect(tmp_path, bootstrap=None)
    base, other = comparison.cells[:2]
    assert [run.status.state for run in base.runs] == [RunState.MISSING, RunState.DONE]
    assert base.summary["AP"].num_seeds == 1
    assert other.difference is None  # no seed that both have
    assert not other.is_complete
    assert "2 runs are missing: tau=0.6 seed=0, tau=0.5 seed=1" in comparison.notes


def test_settings_on_disk_that_differ_beside_the_axes_are_noted(tmp_path: Path) -> None:
    write_plan(tmp_path)
    write_run(tmp_path / "0.6-0", config(tau=0.6), ap=0.3, num_threads=5)
    write_run(tmp_path / "0.6-1", config(tau=0.6, seed=1, rematch="per_layer"), ap=0.3, num_threads=5)
    write_run(tmp_path / "0.5-0", config(tau=0.5, gamma=0.5), ap=0.3, num_threads=5)
    write_run(tmp_path / "0.5-1", config(seed=1, tau=0.5), ap=0.3, devices=["cpu: arm64"], num_threads=5)
    notes = "\n".join(collect(tmp_path, bootstrap=None).notes)
    assert "criterion.rules.layers.rematch differs between runs of the base: ('once', 'per_layer')" in notes
    assert "criterion.rules.layers.assigner.gamma is 0.5 in the cell tau=0.5, but 0.25 in the base" in notes
    assert "2 different devices: cpu: arm64; cpu: x86_64" in notes
    assert "numbers of threads" not in notes
    assert "4 runs are not evaluated under nms" in notes


def test_costs_and_history_come_with_the_runs(tmp_path: Path) -> None:
    write_study(tmp_path)
    run = collect(tmp_path, bootstrap=None).cells[0].runs[0]
    assert run.cost is not None
    assert (run.cost.seconds, run.cost.num_steps, run.cost.device) == (50.0, 10, "cpu: x86_64, 1 thread")
    assert [row["step"] for row in run.history] == [9, 9]


def test_a_sweep_has_the_settings_that_differ_as_axes(tmp_path: Path) -> None:
    for name, tau, seed, ap in (("c", 0.5, 0, 0.2), ("a", 0.6, 0, 0.3), ("b", 0.6, 1, 0.4), ("d", 0.5, 1, 0.25)):
        write_run(tmp_path / name, config(tau=tau, seed=seed), ap=ap)
    add_cells(tmp_path, {name: [] for name in ("c", "d", "a", "b")})
    comparison = collect(tmp_path)
    assert [(axis.name, axis.keys, axis.levels) for axis in comparison.axes] == [
        ("tau", ("criterion.rules.layers.assigner.tau",), ("0.5", "0.6"))
    ]
    base, other = comparison.cells
    assert base.factors == comparison.base == {"tau": "0.5"}
    assert [run.seed for run in base.runs] == [0, 1]
    assert base.postprocess == "nms"
    assert other.difference is not None
    assert other.difference.pairs == pytest.approx({0: 0.1, 1: 0.15})
    assert other.difference.over_images is None


def composed(words: Sequence[str]) -> dict[str, Any] | None:
    """The configuration of a cell of a sweep of ``tau``, ``gamma`` and the seed."""
    if not words:
        return None
    tau, gamma, seed = words
    return config(tau=float(tau), gamma=float(gamma), seed=int(seed))


def test_a_cell_of_a_sweep_is_chosen_as_base_by_its_levels(tmp_path: Path) -> None:
    for name, tau, seed, ap in (("a", 0.5, 0, 0.2), ("b", 0.5, 1, 0.2), ("c", 0.7, 0, 0.3), ("d", 0.7, 1, 0.3)):
        write_run(tmp_path / name, config(tau=tau, seed=seed), ap=ap)
    comparison = collect(tmp_path, bootstrap=None, base={"tau": "0.7"})
    assert comparison.base == {"tau": "0.7"}
    differences = [cell.difference and cell.difference.mean for cell in comparison.cells]
    assert differences == [pytest.approx(-0.1), None]
    with pytest.raises(ValueError, match=r"no cell has base=\{'tau': '0.6'\}: levels of the axes are tau: 0.5, 0.7"):
        collect(tmp_path, bootstrap=None, base={"tau": "0.6"})


def test_the_base_of_a_study_is_the_one_that_it_declares(tmp_path: Path) -> None:
    write_study(tmp_path)
    with pytest.raises(ValueError, match=r"study\.base_cell"):
        collect(tmp_path, bootstrap=None, base={"tau": "0.5"})


def test_cells_of_a_sweep_that_have_not_started_are_missing_and_no_base(tmp_path: Path) -> None:
    cells = {
        f"{tau}-{gamma}-{seed}": [tau, gamma, seed]
        for tau in ("0.5", "0.6")
        for gamma in ("0.1", "0.2")
        for seed in ("0", "1")
    }
    add_cells(tmp_path, {**cells, "unknown": []})
    for name, ap in (("0.5-0.2-0", 0.2), ("0.6-0.1-0", 0.3), ("0.6-0.1-1", 0.4), ("0.6-0.2-0", 0.3)):
        content = composed(cells[name])
        assert content is not None
        write_run(tmp_path / name, content, ap=ap)
    comparison = collect(tmp_path, compose=composed)
    assert [(axis.name, axis.levels) for axis in comparison.axes] == [
        ("tau", ("0.5", "0.6")),
        ("gamma", ("0.1", "0.2")),
    ]
    assert levels(comparison.cells) == [("0.5", "0.2"), ("0.6", "0.1"), ("0.6", "0.2"), ("0.5", "0.1")]
    assert comparison.base == {"tau": "0.5", "gamma": "0.2"}
    states = [[(run.seed, run.status.state) for run in cell.runs] for cell in comparison.cells]
    done, missing = RunState.DONE, RunState.MISSING
    assert states == [
        [(0, done), (1, missing)],
        [(0, done), (1, done)],
        [(0, done), (1, missing)],
        [(0, missing), (1, missing)],
    ]
    missing_runs = ["tau=0.5 gamma=0.2 seed=1", "tau=0.6 gamma=0.2 seed=1"]
    missing_runs += ["tau=0.5 gamma=0.1 seed=0", "tau=0.5 gamma=0.1 seed=1"]
    assert f"4 runs are missing: {', '.join(missing_runs)}" in comparison.notes
    assert "1 run left out, not started" in comparison.notes
    assert ablation_table(comparison).rows[-1][2].text == "missing"
    trace = next(trace for trace in heat_map(comparison).views[0].traces if trace.spec["type"] == "scatter")
    assert (trace.spec["x"], trace.spec["y"], trace.spec["text"]) == (["0.5"], ["0.1"], ["missing"])


def test_a_level_that_no_run_has_started_with_makes_an_axis(tmp_path: Path) -> None:
    add_cells(tmp_path, {"a": ["0.5", "0.1", "0"], "b": ["0.6", "0.1", "0"]})
    write_run(tmp_path / "a", config(tau=0.5, gamma=0.1), ap=0.2)
    comparison = collect(tmp_path, compose=composed)
    assert [(axis.name, axis.levels) for axis in comparison.axes] == [("tau", ("0.5", "0.6"))]
    alone = collect(tmp_path)
    assert levels(alone.cells) == [()]
    assert "1 run left out, not started" in alone.notes


def test_trials_that_the_pruner_ended_are_not_compared(tmp_path: Path) -> None:
    for name, tau, ap in (("trial0", 0.5, 0.9), ("trial1", 0.6, 0.3), ("trial2", 0.7, 0.4)):
        write_run(tmp_path / name, config(tau=tau), ap=ap)
    mark_done(tmp_path / "trial0", {"step": 10, "AP": 0.9, "is_pruned": True})
    comparison = collect(tmp_path)
    assert levels(comparison.cells) == [("0.6",), ("0.7",)]
    assert comparison.base == {"tau": "0.6"}
    assert set(comparison.cells[0].summary) == {"AP"}
    assert "1 trial left out, ended early by the pruner" in comparison.notes
    with pytest.raises(ValueError, match="trial0 holds no run that has started and was not pruned"):
        collect(tmp_path / "trial0")


def test_what_follows_from_another_setting_is_no_axis(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(), ap=0.3)
    write_run(tmp_path / "b", config(tau=0.5), ap=0.3)
    write_run(tmp_path / "c", config(assigner=HUNGARIAN, rematch="per_layer", postprocess=TOPK), ap=0.3)
    comparison = collect(tmp_path)
    assert [axis.name for axis in comparison.axes] == ["assigner", "tau", "postprocess"]
    assert "criterion.rules.layers.rematch" in comparison.axes[0].keys
    assert [dict(cell.factors) for cell in comparison.cells] == [
        {"assigner": "iou", "tau": "0.6", "postprocess": "nms"},
        {"assigner": "iou", "tau": "0.5", "postprocess": "nms"},
        {"assigner": "hungarian", "tau": "-", "postprocess": "topk"},
    ]
    assert [cell.postprocess for cell in comparison.cells] == ["nms", "nms", "topk"]


def test_a_run_continued_at_its_very_end_keeps_its_last_score(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(), ap=0.3)
    (tmp_path / "a" / "done.json").write_text('{"step": 10, "epoch": 1}')
    (cell,) = collect(tmp_path).cells
    assert cell.summary["AP"].mean == 0.3


def test_places_that_hold_nothing_to_compare_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        collect(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no run that has started"):
        collect(tmp_path / "empty")


def test_what_differs_along_with_an_axis_is_told_apart_from_the_other_notes(tmp_path: Path) -> None:
    for tau, rematch in ((0.5, "once"), (0.6, "per_layer")):
        write_run(tmp_path / f"tau{tau}", config(tau=tau, rematch=rematch), ap=0.3)
    comparison = collect(tmp_path, bootstrap=None)
    (told,) = comparison.beyond
    assert "criterion.rules.layers.rematch" in told
    assert told in comparison.notes
    assert '<div class="banner"' in page(comparison)


def test_arguments_of_another_class_are_no_further_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "one", config(), ap=0.3)
    write_run(tmp_path / "other", config(assigner=HUNGARIAN), ap=0.4)
    comparison = collect(tmp_path, bootstrap=None)
    assert comparison.beyond == ()
    assert '<div class="banner"' not in page(comparison)


def trained_with(folder: Path, num_train: int) -> None:
    """Put generated pictures on record as the data of a run."""
    recipe = ShapesRecipe(num_train=num_train, num_val=4)
    data = DataRecord({"train": recipe_fingerprint(recipe, "train"), "val": recipe_fingerprint(recipe, "val")})
    write_data(folder, data)
    done = json.loads((folder / "done.json").read_text())
    mark_done(folder, {**done, "data": data.to_dict()})


def test_runs_of_two_data_sets_are_in_no_cell_together_and_a_note_names_both(tmp_path: Path) -> None:
    for seed, num_train in ((0, 8), (1, 8), (2, 9)):
        run = write_run(tmp_path / f"{seed}", config(seed=seed), ap=0.1 * num_train)
        trained_with(run, num_train)
    comparison = collect(tmp_path, bootstrap=None)
    assert [axis.name for axis in comparison.axes] == ["data_set"]
    assert [[run.seed for run in cell.runs] for cell in comparison.cells] == [[0, 1], [2]]
    assert [cell.summary["AP"].mean for cell in comparison.cells] == pytest.approx([0.8, 0.9])
    (note,) = [note for note in comparison.notes if "data sets" in note]
    assert note.startswith(
        "the runs were trained with 2 different data sets, which are not compared: train shapes-8-4-"
    )
    assert note in comparison.beyond
    assert comparison.cells[1].difference is None
    assert "/train (8 images, 6 classes, digest " in note
    assert "/train (9 images, 6 classes, digest " in note


def test_runs_of_one_data_set_need_no_note_and_no_axis(tmp_path: Path) -> None:
    for seed in (0, 1):
        trained_with(write_run(tmp_path / f"{seed}", config(seed=seed), ap=0.1), 8)
    comparison = collect(tmp_path, bootstrap=None)
    assert (comparison.axes, comparison.notes) == ((), ())


def test_a_study_says_that_its_runs_have_other_data_or_none_on_record(tmp_path: Path) -> None:
    write_study(tmp_path)
    for name, num_train in (("0.6-0", 8), ("0.6-1", 8), ("0.5-0", 9)):
        trained_with(tmp_path / name, num_train)
    comparison = collect(tmp_path, bootstrap=None)
    notes = comparison.notes
    assert any("with 2 different data sets, which are not compared: " in note for note in notes)
    assert comparison.cells[1].summary["AP"].num_seeds == 1  # the run of seed 1 has no record
    assert comparison.cells[1].difference is not None
    assert list(comparison.cells[1].difference.pairs) == [1]
    assert "1 run has no record of the data, which may be others than those of the rest" in notes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *product(
            ("config.yaml", "environment.json", "evaluations/nms/metrics.json", "done.json"),
            (b"", b"[1, 2", b"\xff\x00", b"[]"),
        ),
        ("metrics.jsonl", b"[]\n[]\n"),
        ("metrics.jsonl", b"\xff\n{}\n"),
        ("config.yaml", b"seed: 0\ndata: {}\n"),  # its beginning
    ],
)
def test_a_damaged_file_of_one_run_is_a_note_and_the_others_are_compared(
    name: str, content: bytes, tmp_path: Path
) -> None:
    for number, tau in enumerate((0.5, 0.6, 0.7)):
        write_run(tmp_path / f"run{number}", config(tau=tau), ap=0.1 * number, scores={"nms": 0.1 * number})
    (tmp_path / "run0" / name).write_bytes(content)
    comparison = collect(tmp_path, bootstrap=None)
    assert sorted(cell.summary["AP"].mean for cell in comparison.cells if cell.summary)[-2:] == [0.1, 0.2]
    assert any(name.rpartition("/")[2] in note for note in comparison.notes)


@pytest.mark.parametrize("value", ['"0.5"', "true", "[0.5]", '{"a": 1}', "1" + "0" * 400, '"\\u001b[2J"'])
def test_a_score_that_is_no_number_is_a_note_with_file_and_key(value: str, tmp_path: Path) -> None:
    for number, tau in enumerate((0.5, 0.6)):
        write_run(tmp_path / f"run{number}", config(tau=tau), ap=0.1 * (number + 1))
    done = tmp_path / "run0" / "done.json"
    done.write_text(f'{{"step": 2, "epoch": 1, "AP50": {value}, "AP": 0.1, "APs": null}}')
    notes = collect(tmp_path, bootstrap=None).notes
    (note,) = [note for note in notes if "AP50" in note]
    assert f"{done}: AP50 is no number but " in note
    assert chr(27) not in note
