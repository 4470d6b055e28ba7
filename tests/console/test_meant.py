"""What a mistyped name may have meant."""

from pathlib import Path

import pytest

from deta.console.meant import either, meant_choices, meant_keys, meant_path

KEYS = (
    "size",
    "backbone@model.backbone",
    "seed",
    "weights",
    "model.backbone.weights",
    "optimizer.lr",
    "trainer.max_epochs",
    "trainer.max_steps",
    "data.batch_size",
    "data.eval_batch_size",
    "criterion.rules.first.assigner.tau",
    "criterion.rules.layers.assigner.tau",
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", ["optimizer.lr"]),
        ("trainer.max_epoch", ["trainer.max_epochs"]),
        ("optimzer.lr", ["optimizer.lr"]),
        ("batchsize", ["data.batch_size"]),
        ("epochs", ["trainer.max_epochs"]),
        ("backbone", ["backbone@model.backbone"]),
        ("tau", ["criterion.rules.first.assigner.tau", "criterion.rules.layers.assigner.tau"]),
        ("sede", ["seed"]),
        ("zebra", []),
        ("model.zebra", []),
    ],
)
def test_the_likeliest_keys_are_named(name: str, meant: list[str]) -> None:
    assert meant_keys(name, KEYS) == meant


def test_a_word_of_other_programs_is_no_advice_where_its_key_does_not_exist() -> None:
    assert meant_keys("epochs", ["seed"]) == []


def test_choices_that_begin_so_come_before_similar_ones() -> None:
    choices = ["deta", "deta_r50_24ep", "deta_r50_12ep", "detr_r50"]
    assert meant_choices("deta_r50", choices) == ["deta_r50_24ep", "deta_r50_12ep"]
    assert meant_choices("dtea", choices) == ["deta"]
    assert meant_choices("deta_r50_12e", choices) == ["deta_r50_12ep"]
    assert meant_choices("", choices) == []


def test_the_first_part_of_a_path_that_is_wrong_is_compared_with_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "coco" / "images").mkdir(parents=True)
    assert meant_path(tmp_path / "cocoo") == tmp_path / "coco"
    assert meant_path(tmp_path / "cocoo" / "images") == tmp_path / "coco" / "images"
    assert meant_path(tmp_path / "cocoo" / "labels") is None
    assert meant_path(tmp_path / "coco") is None
    assert meant_path(tmp_path / ("x" * 300)) is None


def test_names_are_joined_as_people_read_them() -> None:
    assert [either(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a or b", "a, b or c"]
