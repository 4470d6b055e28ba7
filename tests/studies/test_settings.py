"""Which settings decide a result, and where two configurations differ."""

import re
from pathlib import Path

from deta.studies.conf import config_dir
from deta.studies.settings import ABSENT, by_reference, differences, effective, is_below, leaves, marks, without_effect


def test_places_and_habits_have_no_effect() -> None:
    config = {
        "seed": 0,
        "run_dir": "/here",
        "paths": {"data": "/data", "runs": "/runs"},
        "data": {"root": "/data/coco", "num_workers": 4, "batch_size": 2, "train_annotations": "/data/a.json"},
        "callbacks": {"best": {"monitor": "AP"}, "ema": {"decay": 0.9}},
    }
    assert effective(config) == {
        "seed": 0,
        "data": {"batch_size": 2, "train_annotations": "${paths.data}/a.json"},
        "callbacks": {"ema": {"decay": 0.9}},
    }


def test_differences_have_both_values_and_name_what_is_absent() -> None:
    first = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    second = {"a": {"b": 2, "c": [1, 2], "e": True}}
    assert differences(first, second) == {"a.b": (1, 2), "a.e": (ABSENT, True), "d": (None, ABSENT)}
    assert differences(first, first) == {}


def test_a_node_that_becomes_a_value_differs_in_each_of_its_keys() -> None:
    assert differences({"a": {"b": 1}}, {"a": None}) == {"a": (ABSENT, None), "a.b": (1, ABSENT)}


def test_leaves_have_dotted_keys() -> None:
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": [1]})) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_a_prefix_covers_whole_names_only() -> None:
    assert is_below("criterion.tau", ("criterion",))
    assert is_below("criterion", ("criterion",))
    assert not is_below("criterion_weight", ("criterion",))


def test_an_option_of_a_group_is_marked_in_all_files_of_the_group_or_in_none() -> None:
    options: dict[str, dict[Path, bool]] = {}
    for path in config_dir().glob("*/*.yaml"):
        names = re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
        for name in names:
            options.setdefault(f"{path.parent.name}.{name}", {})[path] = (name, "unnamed") in marks(path)
    assert [name for name, files in options.items() if len(set(files.values())) == 2] == []


def test_what_is_marked_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "group.yaml"
    path.write_text(
        "defaults:\n  - paths: x   # @unnamed; here\na: 1   # @unnamed\nb: 2   # unnamed\n# @unnamed: none\n"
    )
    assert marks(path) == [("paths", "unnamed"), ("a", "unnamed")]
    assert {
        "paths",
        "data.root",
        "callbacks.best",
        "trainer.benchmark",
        "model.body.encoder.checkpoint",
    } <= without_effect()
    assert not {"data", "data.batch_size", "callbacks.ema", "trainer.precision", "weights", "seed"} & without_effect()


def test_an_option_that_came_later_is_named_at_other_values_alone() -> None:
    assert effective({"seed": 0, "class_heads": "by_size"}) == {"seed": 0}
    assert effective({"class_heads": "by_name"}) == {"class_heads": "by_name"}
    assert effective({"data": {"seed": 0, "val_split": "val", "pad_to_multiple": 1}}) == {"data": {"seed": 0}}
    assert effective({"data": {"val_split": "train"}}) == {"data": {"val_split": "train"}}


def test_a_group_that_acts_by_reference_counts_where_it_is_referred_to() -> None:
    chosen = {"_target_": "deta.models.query.selection.TopKPositions"}
    assert effective({"selection": chosen}) == {}
    assert effective({"model": {"selection": {"top_k": 3}}}) == {"model": {"selection": {"top_k": 3}}}
    assert by_reference() == {"selection"}
