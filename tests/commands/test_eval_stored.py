"""``deta eval --from``: stored predictions give the numbers of the run that wrote them, and more."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from deta.commands.eval_stored import evaluate_stored
from tests.commands.conftest import Run
from tests.commands.running import deta, fail, succeed


@pytest.fixture(scope="module")
def evaluated(trained: Run, workplace: Path) -> Path:
    """An evaluation that kept its raw predictions."""
    folder = workplace / "evaluated"
    succeed("eval", f"ckpt={trained.folder}", "save_raw=true", f"hydra.run.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def good(evaluated: Path, workplace: Path) -> Path:
    """A result file with every object in its place but the first of every image, and one false detection."""
    truth = json.loads(annotations(evaluated).read_text())
    records: list[dict[str, Any]] = []
    for image in truth["images"]:
        objects = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
        records += [
            {"image_id": image["id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.9}
            for entry in objects[1:]
            if not entry["iscrowd"]
        ]
    records.append({**records[0], "bbox": [0, 0, 2, 2], "score": 0.5})
    path = workplace / "good.json"
    path.write_text(json.dumps(records))
    return path


def annotations(folder: Path) -> Path:
    return Path(json.loads((folder / "evaluation.json").read_text())["annotations"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("spelling", [["--from", "FILE"], ["--from=FILE"], ["from_file=FILE"]])
def test_a_result_file_gives_the_numbers_of_its_run(evaluated: Path, tmp_path: Path, spelling: list[str]) -> None:
    words = [word.replace("FILE", str(evaluated)) for word in spelling]
    succeed("eval", *words, f"hydra.run.dir={tmp_path}")
    expected = json.loads((evaluated / "metrics.json").read_text())
    assert json.loads((tmp_path / "metrics.json").read_text()) == pytest.approx(expected, nan_ok=True)


def test_tables_and_charts_say_where_the_precision_is(good: Path, evaluated: Path, tmp_path: Path) -> None:
    words = ("--from", str(good), f"data.val_annotations={annotations(evaluated)}", *out(tmp_path))
    outcome = succeed("eval", *words, is_painted=True)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    sizes = {row["name"]: row for row in rows(tmp_path / "sizes.csv")}
    assert float(sizes["all"]["AP"]) == metrics["AP"] > 0
    assert float(sizes["small"]["AP"]) == metrics["APs"]
    categories = rows(tmp_path / "categories.csv")
    defined = [float(row["AP"]) for row in categories if row["AP"]]
    assert sum(defined) / len(defined) == pytest.approx(metrics["AP"])
    curve = [float(row["IoU 0.75"]) for row in rows(tmp_path / "precision_recall.csv")]
    assert sum(curve) / 101 == pytest.approx(metrics["AP75"])
    truth = json.loads(annotations(evaluated).read_text())["annotations"]
    first = {entry["image_id"]: entry for entry in reversed(truth)}  # of every image with an object
    num_left_out = sum(not entry["iscrowd"] for entry in first.values())
    assert num_left_out > 1
    errors = {row["kind"]: row for row in rows(tmp_path / "errors.csv")}
    assert {kind: row["number"] for kind, row in errors.items() if row["number"] not in ("", "0")} == {
        "background": "1",
        "missed": str(num_left_out),
    }
    assert float(errors["missed"]["gain_AP50"]) > 0
    per_category = rows(tmp_path / "errors_categories.csv")
    assert sum(int(row["missed"]) for row in per_category) == num_left_out
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "categories",
        "errors",
        "class_curves",
        "confusion",
        "precision_recall",
        "sizes",
    }
    assert f"results lie in {tmp_path}" in outcome.out


def test_raw_predictions_give_the_detections_of_the_network(evaluated: Path, tmp_path: Path) -> None:
    succeed("eval", "--from", str(evaluated / "raw_predictions.npz"), "postprocess=nms", *out(tmp_path))
    found, expected = (json.loads((folder / "predictions.json").read_text()) for folder in (tmp_path, evaluated))
    assert len(expected) > 20
    first, second = (
        {(row["image_id"], row["category_id"], *row["bbox"]): row["score"] for row in records}
        for records in (found, expected)
    )
    assert first == pytest.approx(second, rel=1e-6)  # the sigmoid depends in its last bit on the place in memory


def test_a_sweep_has_one_row_for_every_selection(evaluated: Path, tmp_path: Path) -> None:
    raw = str(evaluated / "raw_predictions.npz")
    outcome = succeed("eval", "--from", raw, "nms_thresholds=[0.05,0.7,null]", "top_k=[5,100]", *out(tmp_path))
    swept = {(row["nms_threshold"], row["top_k"]): row for row in rows(tmp_path / "sweep.csv")}
    assert set(swept) == {(nms, top) for nms in ("0.05", "0.7", "") for top in ("5", "100")}
    assert int(swept["0.7", "100"]["detections"]) == len(json.loads((evaluated / "predictions.json").read_text()))
    assert swept["", "5"]["detections"] == "20"
    assert int(swept["0.05", "100"]["detections"]) < int(swept["0.7", "100"]["detections"])
    assert (tmp_path / "figures" / "sweep.png").is_file()
    assert "off" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "nowhere.json"], "from_file=nowhere.json does not exist"),
        (["--from", "RUN", "ckpt=RUN"], "give either --from or ckpt"),
        (["--from", "RUN", "nms_thresholds=[0.5]"], "need raw predictions, which deta eval ckpt=... save_raw=true"),
        (["--from", "RUN/raw_predictions.npz"], "raw predictions need a selection: postprocess=nms"),
        (["--from", "RUN/raw_predictions.npz", "nms_thresholds=0.5"], "nms_thresholds must be a list"),
        (["--from", "RUN/raw_predictions.npz", "nms_thresholds=[2]"], "nms_thresholds must be in [0, 1], got 2"),
        (["ckpt=RUN", "top_k=[5]"], "sweep stored raw predictions: give --from"),
        (["--from"], "deta: --from needs a file"),
    ],
)
def test_a_mistake_is_named(evaluated: Path, tmp_path: Path, words: list[str], message: str) -> None:
    given = [word.replace("RUN", str(evaluated)) for word in words]
    assert message in fail("eval", *given, *out(tmp_path))


def test_other_commands_do_not_know_from() -> None:
    outcome = deta("predict", "--from=x")
    assert (outcome.code, "values are given without dashes" in outcome.err) == (2, True)


def test_predictions_of_another_data_set_are_refused(good: Path, evaluated: Path, tmp_path: Path) -> None:
    truth = json.loads(annotations(evaluated).read_text())
    dropped = truth["images"].pop(0)["id"]
    truth["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] != dropped]
    (tmp_path / "other.json").write_text(json.dumps(truth))
    for path in (good, evaluated / "raw_predictions.npz"):
        words = ["eval", "--from", str(path), f"data.val_annotations={tmp_path}/other.json"]
        words += ["postprocess=nms"] if path.suffix == ".npz" else []
        assert str(dropped) in fail(*words, *out(tmp_path))


def out(folder: Path) -> list[str]:
    return [f"hydra.run.dir={folder}"]


@pytest.mark.parametrize(
    "note",
    [
        "[1]",
        "{}",
        "",
        "null",
        '{"annotations": 5}',
        '{"annotations": "a.json", "layout": "yolo"}',
        '{"annotations": "a.json", "layout": 1}',
        "[" * 100_000,
        '{"annotations": ' + "[" * 100_000,
        '{"annotations": "' + "x" * 2**17 + '"}',
        "\udcff",
    ],
)
def test_a_note_that_names_no_annotations_is_one_message(tmp_path: Path, note: str) -> None:
    (tmp_path / "predictions.json").write_text("[]")
    (tmp_path / "evaluation.json").write_bytes(note.encode(errors="surrogateescape"))
    cfg = OmegaConf.create({"from_file": str(tmp_path), "data": {}, "run_dir": str(tmp_path)})
    with pytest.raises(
        ValueError, match=r"evaluation\.json does not name .*: give data\.val_annotations=<file>"
    ) as error:
        evaluate_stored(cfg)
    assert len(str(error.value)) < 1000
