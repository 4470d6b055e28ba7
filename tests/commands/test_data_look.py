"""``deta data stats``, ``show`` and ``assign`` on generated pictures."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from tests.commands.running import fail, succeed
from tests.conftest import ROOT
from tests.data.folders import annotation, document, image, write_json

OWN = "_target_: deta.assign.IoUAssigner\ntau: 0.5\nmax_per_target: null\ngamma: null\nclosest_box: false\n"
SIZES = ("small", "medium", "large")
SHAPES = ("data=shapes", "data.num_train=8", "data.num_val=4")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


def test_statistics_of_both_splits_are_tables_and_charts(tmp_path: Path) -> None:
    outcome = succeed("data", "stats", *SHAPES, f"hydra.run.dir={tmp_path}")
    summary = {row["quantity"]: row for row in rows(tmp_path / "summary.csv")}
    assert (summary["images"]["train"], summary["images"]["val"]) == ("8", "4")
    for split in ("train", "val"):
        objects = sum(int(row["objects"]) for row in rows(tmp_path / f"categories_{split}.csv"))
        assert objects == int(summary["objects"][split]) > 0
        assert width(tmp_path / f"statistics_{split}.png") > 1000
    assert str(tmp_path) in outcome.out


def test_statistics_of_one_split(tmp_path: Path) -> None:
    succeed("data", "stats", *SHAPES, "split=val", f"hydra.run.dir={tmp_path}")
    assert not (tmp_path / "categories_train.csv").exists()
    assert "split must be one of train, val, got 'test'" in fail("data", "stats", *SHAPES, "split=test")


def test_sheets_hold_every_image_before_and_after_augmentation(tmp_path: Path) -> None:
    words = ("num_images=5", "rows=2", "num_epochs=2", f"hydra.run.dir={tmp_path}")
    outcome = succeed("data", "show", *SHAPES, *words)
    assert [width(path) for path in tmp_path.glob("sheet_*.jpg")] == [3 * 480 + 2 * 8] * 3
    assert "5 images of 8 on 3 sheets" in outcome.out


def test_images_are_shown_by_id(tmp_path: Path) -> None:
    words = ("split=val", "image_ids=[4,2]", f"hydra.run.dir={tmp_path}")
    assert "2 images of 4 on 1 sheet" in succeed("data", "show", *SHAPES, *words).out
    assert "images of the train split, [77] are not" in fail("data", "show", *SHAPES, "image_ids=[1,77]")


def test_a_grid_of_rules_is_a_table_and_a_chart(tmp_path: Path) -> None:
    words = (
        "grid.tau=[0.3,0.6]",
        "grid.max_per_target=[1,null]",
        "assigner.closest_box=false",
        "picture=1",
        "num_workers=1",
    )
    outcome = succeed("data", "assign", *SHAPES, *words, f"hydra.run.dir={tmp_path}")
    table = {(row["tau"], row["max_per_target"], row["size"]): row for row in rows(tmp_path / "assignment.csv")}
    assert len(table) == 2 * 2 * 4
    lenient, strict = (float(table[tau, "", "all"]["positives_per_object"]) for tau in ("0.3", "0.6"))
    assert lenient > strict
    assert float(table["0.3", "1", "all"]["positives_per_object"]) < lenient
    assert float(table["0.6", "", "all"]["unmatched_share"]) > float(table["0.3", "", "all"]["unmatched_share"])
    assert (tmp_path / "assignment.png").is_file()
    assert width(tmp_path / "picture.png") > 2000
    assert "4 rules on 4 images" in outcome.out


@pytest.mark.parametrize("grid", [(), ("grid=null",)])
def test_a_rule_without_the_settings_of_the_default_grid_is_run_as_it_is(grid: tuple[str, ...], tmp_path: Path) -> None:
    words = ("assigner=hungarian", *grid, "num_workers=1", f"hydra.run.dir={tmp_path}")
    assert "1 rule on 4 images" in succeed("data", "assign", *SHAPES, *words).out
    (row,) = [row for row in rows(tmp_path / "assignment.csv") if row["size"] == "all"]
    assert float(row["positives_per_object"]) == 1


def test_a_rule_without_the_settings_of_the_default_grid_is_swept_over_its_own(tmp_path: Path) -> None:
    words = ("assigner=hungarian", "+grid.l1_weight=[0,5]", "num_workers=1", f"hydra.run.dir={tmp_path}")
    assert "2 rules on 4 images" in succeed("data", "assign", *SHAPES, *words).out
    assert {row["l1_weight"] for row in rows(tmp_path / "assignment.csv")} == {"0", "5"}


def test_rules_are_compared_each_on_its_own_candidates(tmp_path: Path) -> None:
    # A small, a medium and two large objects; cells are 4 pixels wide, and the centres of the last two lie in one.
    boxes = ((10, 10, 20, 20), (60, 20, 64, 64), (100, 100, 120, 120), (101, 101, 120, 120))
    entries = [annotation(k, bbox=list(box), area=box[2] * box[3]) for k, box in enumerate(boxes, start=1)]
    write_json(tmp_path / "a.json", document([image(1, height=256, width=320)], entries))
    words = (f"data.root={tmp_path}", "data.val_annotations=a.json", "num_workers=1", "augment=flip")
    outcome = succeed("data", "assign", *words, "assigner=[topk_iou,gaussian]", f"hydra.run.dir={tmp_path}")
    table = {(row["rule"], row["size"]): row for row in rows(tmp_path / "assignment.csv")}
    assert [table["gaussian", size]["positives"] for size in SIZES] == ["1", "1", "1"]
    assert [table["gaussian", size]["unmatched"] for size in SIZES] == ["0", "0", "1"]
    assert [table["topk_iou", size]["positives"] for size in ("small", "medium")] == ["5", "5"]
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines() if line}
    assert lines["gaussian"] == ["0.750", "1.000", "1.000", "0.500", "0.250", "0.333"]
    assert lines["topk_iou"][1:3] == ["5.000", "5.000"]
    assert width(tmp_path / "assignment.png") > 1000
    assert "2 rules on 1 image in" in outcome.out


def test_all_rules_are_compared_and_those_that_need_predictions_named(tmp_path: Path) -> None:
    words = ("assigner=all", "assigner.topk_iou.k=1", "picture=2", "num_workers=1", f"hydra.run.dir={tmp_path}")
    out = succeed("data", "assign", *SHAPES, *words).out
    assert width(tmp_path / "picture.png") > 2000  # four columns
    table = {row["rule"]: row for row in rows(tmp_path / "assignment.csv") if row["size"] == "all"}
    of_candidates = ["iou", "release", "topk_iou", "max_iou", "max_iou_mmdet", "atss", "fcos", "gaussian"]
    assert list(table) == [*of_candidates, "hungarian", "simota", "tal", "one_per_object"]
    assert float(table["topk_iou"]["positives_per_object"]) <= 1
    assert float(table["hungarian"]["positives_per_object"]) == 1
    assert "On anchors with equal scores, as before any training: hungarian, simota, tal, one_per_object" in out


def test_a_rule_of_your_own_is_compared_from_your_own_folder(tmp_path: Path) -> None:
    near = (ROOT / "conf" / "compare" / "atss.yaml").read_text(encoding="utf-8").replace("compare.atss", "compare.near")
    for name, text in {"compare/near": f"{near}  strides: [16]\n", "assigner/own": OWN}.items():
        own = tmp_path / "own" / f"{name}.yaml"
        own.parent.mkdir(parents=True)
        own.write_text(text, encoding="utf-8")
    words = ("assigner=[atss,near,own]", "assigner.own.tau=0.9", "num_workers=1", f"hydra.run.dir={tmp_path}")
    out = succeed("data", "assign", *SHAPES, *words, "--config-dir", str(tmp_path / "own")).out
    assert "3 rules on 4 images" in out
    table = {row["rule"]: row for row in rows(tmp_path / "assignment.csv") if row["size"] == "all"}
    assert 0 < int(table["near"]["positives"]) < int(table["atss"]["positives"])
    assert float(table["own"]["unmatched_share"]) > 0.5  # nearly no anchor reaches 0.9
    assert "On anchors with equal scores, as before any training: own" in out


def documented(out: str) -> bool:
    """Whether the printed table stands in the documents, letter by letter."""
    table = "\n".join(line.rstrip() for line in out.partition("\n\n")[0].splitlines())
    return table.startswith("rule") and table in (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_table_of_generated_pictures_is_the_documented_one(tmp_path: Path) -> None:
    words = ("data=shapes", "data.num_train=8", "assigner=all", "num_workers=1", f"hydra.run.dir={tmp_path}")
    assert documented(succeed("data", "assign", *words).out)


@pytest.mark.slow
def test_the_table_of_photographs_is_the_documented_one(shared: Path, tmp_path: Path) -> None:
    rules = "[iou,release,topk_iou,max_iou,max_iou_mmdet,atss,fcos,gaussian]"
    words = (f"data.root={shared / 'data' / 'coco_sample'}", f"assigner={rules}", f"hydra.run.dir={tmp_path}")
    assert documented(succeed("data", "assign", *words).out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["compare=[iou,tal]"],
            "compare=[iou,tal]: several rules are assigner=[iou,atss], and settings",
        ),
        (
            ["assigner=[iou]", "grid.tau=[0.5]"],
            "grid.tau=[0.5] is of one rule alone: beside assigner=[...] give",
        ),
        (["assigner=[atss]", "assigner.tau=1"], "assigner.tau=1 is of one rule alone"),
        (
            ["assigner=[fcos]", "+assigner.fcos.candidates.strides=[]"],
            "candidates.strides must name at least one level",
        ),
        (["picture=77"], "picture must be the id of an image of the split that is assigned, got 77"),
        (["assigner=[iou,atsss]"], "assigner=[iou,atsss]: no rule atsss; did you mean atss? Rules: "),
        (
            ["assigner=hungarian", "grid.tau=[0.5]"],
            "grid.tau is no setting of assigner=hungarian: sweep class_weight, l1_weight, giou_weight, "
            "scores, eps by "
            "+grid.<setting>=[...], which the YAML of the rule must name",
        ),
        (["grid.tau=0.5"], "grid.tau must be a list of values such as [0.5,0.7], or null, got 0.5"),
        (["grid.tau=[2]"], "tau must be in [0, 1], got 2"),
        (["split=test"], "split must be one of train, val, got 'test'"),
        (["anchors.strides=[]"], "anchors.strides must name at least one level"),
        (["num_workers=0"], "num_workers must be at least 1, got 0"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, words: list[str], message: str) -> None:
    assert message in fail("data", "assign", *SHAPES, *words, f"hydra.run.dir={tmp_path}")
