"""What a study declares, and the runs that follow."""

from pathlib import Path
from typing import Any

import pytest

from deta.studies.plan import Plan, PlannedRun
from tests.studies.declared import CONTENT, study


def test_the_base_comes_first_and_every_combination_once() -> None:
    assert study().cells() == [
        {"tau": "0.6", "rule": "many"},
        {"tau": "0.5", "rule": "many"},
        {"tau": "0.5", "rule": "one"},
        {"tau": "0.6", "rule": "one"},
    ]


def test_values_of_a_list_go_to_every_key_of_the_axis() -> None:
    axis = {"keys": ["a.n", "b.n"], "levels": [1, None, True, "text"]}
    made = study(axes={"n": axis}, base_cell={"n": None}).axes[0]
    assert made.levels == {
        "1": ("a.n=1", "b.n=1"),
        "null": ("a.n=null", "b.n=null"),
        "true": ("a.n=true", "b.n=true"),
        "text": ("a.n=text", "b.n=text"),
    }


def test_a_level_wins_over_words_for_all_runs_and_the_seed_is_its_own() -> None:
    words = study().words({"tau": "0.5", "rule": "one"}, 3, ["criterion.rules.layers.assigner.tau=0.9", "seed=7"])
    assert words == [
        "experiment=deta_shapes",
        "criterion.rules.layers.rematch=per_layer",
        "trainer.max_epochs=1",
        "criterion.rules.layers.assigner.tau=0.9",
        "seed=7",
        "criterion.rules.layers.assigner.tau=0.5",
        "+postprocess@evaluations.nms=nms",
        "+postprocess@evaluations.topk=topk",
        "seed=3",
        "name=small",
    ]


def test_a_plan_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    runs = (PlannedRun("a", {"tau": "0.6", "rule": "many"}, 0, ("x=1",)), PlannedRun("b", {"tau": "0.5"}, 3, ()))
    plan = Plan(study(), runs)
    plan.write(tmp_path / "small")
    assert Plan.read(tmp_path / "small") == plan


def test_a_folder_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no study\.json: it is not the folder of a study"):
        Plan.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {}}, r"study\.axes must name at least one axis"),
        ({"seeds": [0, 0]}, r"study\.seeds must be a list of different values, at least one, got \[0, 0\]"),
        ({"seeds": []}, r"study\.seeds must be a list of different values"),
        ({"seeds": [0.5]}, r"study\.seeds must be an integer, got 0\.5"),
        ({"postprocess": []}, r"study\.postprocess must be a list of different values"),
        ({"base_cell": {"tau": 0.7, "rule": "many"}}, r"study\.base_cell\.tau must be one of 0\.5, 0\.6, got '0\.7'"),
        ({"base_cell": {"rule": "many"}}, r"study\.base_cell\.tau must be one of 0\.5, 0\.6, got None"),
        ({"base_cell": {**CONTENT["base_cell"], "x": 1}}, r"study\.base_cell\.x is no axis of the study"),
        ({"base_cell": {**CONTENT["base_cell"], "postprocess": "peaks"}}, r"must be one of nms, topk, got 'peaks'"),
        ({"base": "experiment=x"}, r"study\.base must be a list of overrides, got 'experiment=x'"),
        ({"title": None}, r"study\.title has no value"),
        ({"color": 1}, r"study\.color is no key of a study"),
    ],
)
def test_a_faulty_declaration_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(**changes)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"keys": ["a"]}, r"study\.axes\.x must have keys and levels"),
        ({"keys": [], "levels": {"one": [], "two": []}}, r"study\.axes\.x\.keys must name the configuration keys"),
        ({"keys": ["a"], "levels": [1]}, r"study\.axes\.x\.levels must have at least two levels, got 1"),
        ({"keys": ["a"], "levels": [1, 1]}, r"study\.axes\.x\.levels must differ, got 1, 1"),
    ],
)
def test_a_faulty_axis_is_refused(axis: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(axes={"x": axis}, base_cell={"x": 1})


def test_the_selection_of_detections_is_no_axis() -> None:
    axis = {"keys": ["postprocess"], "levels": {"nms": [], "topk": []}}
    with pytest.raises(ValueError, match=r"need no training, name them in study\.postprocess"):
        study(axes={"postprocess": axis}, base_cell={"postprocess": "nms"})
