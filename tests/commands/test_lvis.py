"""The LVIS experiment from the command line: trained, killed, continued and evaluated, on real images."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deta.commands.eval_stored import write_note
from deta.tracking.metrics import read_metrics
from deta.training.checkpoint import read_checkpoint
from tests.commands.running import QUIET, SMALL_MODEL, fail, succeed
from tests.evaluation.lvis_rules import SIZES, lvis_numbers, match
from tests.training.tiny import is_same

pytest.importorskip("faster_coco_eval")
pytestmark = pytest.mark.gate
EXPERIMENT = (
    "experiment=deta_r50_lvis_12ep",
    "model=deta_small",
    *SMALL_MODEL,
    "model.body.source.num_queries=6",
    "augment=flip_resize",
    "augment.short_sides=[64,80]",
    "augment.eval_short_side=80",
    "criterion.rules.layers.federated=true",
    "data.repeat_threshold=0.2",
    "data.num_workers=0",
    "data.batch_size=4",
    "data.eval_batch_size=8",
    "data.limit_train_images=16",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=2",
    "callbacks.resume.every_n_steps=1",
    *QUIET,
)
"""A detector of small size for all 1230 classes on small copies of real images."""


@pytest.fixture(scope="module")
def place(shared: Path) -> tuple[str, ...]:
    """Where the data set lies."""
    images = ("data.train_images=../coco_sample", "data.val_images=../coco_sample")
    return (f"data.root={shared}/data/lvis_sample", *images)


@pytest.fixture(scope="module")
def words(place: tuple[str, ...]) -> tuple[str, ...]:
    """The whole command line but the directory."""
    return (*EXPERIMENT, *place)


@pytest.fixture(scope="module")
def whole(words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    succeed("train", *words, f"hydra.run.dir={folder}")
    return folder


def evaluate(run: Path, folder: Path, *words: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Numbers and detections of ``deta eval``."""
    succeed("eval", f"ckpt={run}", "num_pictures=0", "accelerator=cpu", *words, f"hydra.run.dir={folder}")
    return read(folder)


def read(folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Numbers and detections in the folder of an evaluation."""
    return json.loads((folder / "metrics.json").read_text()), json.loads((folder / "predictions.json").read_text())


@pytest.fixture(scope="module")
def evaluated(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of the run as it was trained."""
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate(whole, folder, "save_raw=true")
    return folder


@pytest.fixture(scope="module")
def displaced(evaluated: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations by which the evaluated detections are not all wrong."""
    path = tmp_path_factory.mktemp("displaced") / "lvis.json"
    sample = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    path.write_text(json.dumps(annotations_from(read(evaluated)[1], sample, np.random.default_rng(0))))
    return path


def steps(folder: Path) -> list[int]:
    path = folder / "metrics.jsonl"
    return [row["step"] for row in read_metrics(path) if "train/loss" in row] if path.exists() else []


def annotations_from(records: list[dict[str, Any]], path: Path, generator: np.random.Generator) -> dict[str, Any]:
    """The sample with other objects: some of the detections, displaced; so a detector that knows nothing scores."""
    content: dict[str, Any] = json.loads(path.read_text())
    chosen = [record for record in records if min(record["bbox"][2:]) > 1 and generator.random() < 0.05]
    content["annotations"] = [
        {
            "id": k,
            "image_id": record["image_id"],
            "category_id": record["category_id"],
            "bbox": (np.array(record["bbox"]) + generator.normal(0, 0.9, 4)).tolist(),
            "area": record["bbox"][2] * record["bbox"][3],
        }
        for k, record in enumerate(chosen, start=1)
    ]
    groups = generator.choice(["r", "c", "f"], len(content["categories"]))
    for category, group in zip(content["categories"], groups.tolist(), strict=True):
        category["frequency"] = group
    detected = sorted({record["category_id"] for record in records})
    for image in content["images"]:
        image["neg_category_ids"] = generator.choice(detected, 20).tolist()
        image["not_exhaustive_category_ids"] = generator.choice(detected, 5).tolist()
    return content


def test_evaluation_gives_the_numbers_of_the_rules(
    whole: Path, evaluated: Path, displaced: Path, shared: Path, tmp_path: Path
) -> None:
    path = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    metrics, records = read(evaluated)
    assert len(records) == 41 * 300
    assert not (evaluated / "matches.npz").exists()  # by COCO's rules, which are not those of the numbers
    assert metrics == pytest.approx(lvis_numbers(path, records), abs=1e-9, nan_ok=True)
    logged = next(row for row in read_metrics(whole / "metrics.jsonl") if "val/APr" in row)
    assert metrics == pytest.approx({name: logged[f"val/{name}"] for name in metrics}, abs=1e-6, nan_ok=True)
    metrics, same = evaluate(whole, tmp_path / "again", f"data.val_annotations={displaced}")
    assert same == records
    assert metrics == pytest.approx(lvis_numbers(displaced, records), abs=1e-9)
    assert min(metrics[name] for name in ("AP", "APr", "APc", "APf")) > 0.02


def test_a_killed_training_goes_on_as_if_it_was_never_killed(
    whole: Path, words: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "deta", "train", *words, f"hydra.run.dir={tmp_path}"]
    with (tmp_path / "out.txt").open("w") as out:
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # another number sums in another order
        process = subprocess.Popen(command, env={**os.environ, **threads}, stdout=out, stderr=out)
        try:
            while process.poll() is None and len(steps(tmp_path)) < 3:
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL, (tmp_path / "out.txt").read_text()
    done = len(steps(tmp_path))
    assert 3 <= done < len(steps(whole))
    succeed("train", f"ckpt={tmp_path}")
    assert steps(tmp_path) == steps(whole)
    first, second = (read_checkpoint(folder / "checkpoints" / "last.ckpt").weights for folder in (whole, tmp_path))
    assert is_same(dict(first), dict(second))


def test_repeats_make_the_epoch_longer(whole: Path) -> None:
    assert len(steps(whole)) > 2 * 16 / 4
    assert "training images in an epoch, of 16 different ones" in (whole / "train.log").read_text()


def test_the_metric_of_coco_is_refused_for_lvis(words: tuple[str, ...], tmp_path: Path) -> None:
    message = fail("train", *words, "evaluator=coco", f"hydra.run.dir={tmp_path}")
    assert "deta: data.layout=lvis is judged by the rules of LVIS, but evaluator makes" in message
    assert "give evaluator=lvis" in message


def test_shards_of_lvis_are_checked_and_evaluated_as_its_folder(
    whole: Path, evaluated: Path, place: tuple[str, ...], tmp_path: Path
) -> None:
    succeed("data", "shard", "data=lvis", *place, f"out={tmp_path}/shards")
    shards = ("data.source=shards", f"data.shards={tmp_path}/shards")
    assert "The data set is usable." in succeed("data", "check", "data=lvis", *place, *shards).out
    (metrics, records), (expected, same) = evaluate(whole, tmp_path / "own", *shards), read(evaluated)
    assert records == same
    assert metrics == pytest.approx(expected, nan_ok=True)


def test_looking_at_lvis(place: tuple[str, ...], tmp_path: Path) -> None:
    common = ("data=lvis", *place, "split=val", f"hydra.run.dir={tmp_path}")
    succeed("data", "stats", *common)
    assert len((tmp_path / "categories_val.csv").read_text().splitlines()) == 1 + 1230
    assert "2 images of 41" in succeed("data", "show", *common, "num_images=2").out
    assert "1 rule on 3 images" in succeed("data", "assign", *common, "grid=null", "num_images=3", "num_workers=1").out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_stored_predictions_give_the_numbers_of_their_evaluation(evaluated: Path, tmp_path: Path) -> None:
    succeed("eval", "--from", str(evaluated), f"hydra.run.dir={tmp_path}")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == pytest.approx(read(evaluated)[0], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("limit", [300, 40])
def test_the_analysis_is_that_of_the_rules(limit: int, evaluated: Path, displaced: Path, tmp_path: Path) -> None:
    given = (f"data.val_annotations={displaced}", "evaluator=lvis", f"evaluator.max_detections={limit}")
    succeed("eval", "--from", str(evaluated / "predictions.json"), *given, f"hydra.run.dir={tmp_path}")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == pytest.approx(lvis_numbers(displaced, read(evaluated)[1], limit=limit), abs=1e-9)
    assert metrics["AP"] > 0.01
    categories = rows(tmp_path / "categories.csv")
    assert len(categories) == 1230
    for group, name in (("r", "APr"), ("c", "APc"), ("f", "APf")):
        values = [float(row["AP"]) for row in categories if row["frequency"] == group and row["AP"]]
        assert sum(values) / len(values) == pytest.approx(metrics[name])
    sizes = {row["name"]: float(row["AP"]) for row in rows(tmp_path / "sizes.csv")}
    expected = {"all": metrics["AP"], "small": metrics["APs"], "medium": metrics["APm"], "large": metrics["APl"]}
    assert sizes == pytest.approx(expected)
    precisions = [float(row["IoU 0.75"]) for row in rows(tmp_path / "precision_recall.csv")]
    assert sum(precisions) / 101 == pytest.approx(metrics["AP75"])


def test_mistakes_are_those_that_the_rules_count(evaluated: Path, displaced: Path, tmp_path: Path) -> None:
    words = ("data=lvis", f"data.val_annotations={displaced}", f"hydra.run.dir={tmp_path}")
    succeed("eval", "--from", str(evaluated), *words)
    content, records = json.loads(displaced.read_text()), read(evaluated)[1]
    num_right = num_wrong = 0
    for image in content["images"]:
        own = [record for record in records if record["image_id"] == image["id"]]
        found = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        for category in {*image["neg_category_ids"], *(entry["category_id"] for entry in found)}:
            objects, detections = (
                [entry for entry in entries if entry["category_id"] == category] for entries in (found, own)
            )
            judged = match(objects, detections, SIZES[""], category not in image["not_exhaustive_category_ids"])
            num_right += sum(detection.is_right[0] for detection in judged)
            num_wrong += sum(detection.is_wrong[0] for detection in judged)
    counts = {row["kind"]: int(row["number"] or 0) for row in rows(tmp_path / "errors.csv")}
    missed = counts.pop("missed")
    assert sum(counts.values()) == num_wrong
    assert 0 < num_wrong < len(records) / 2
    assert missed <= len(content["annotations"]) - num_right


def test_selections_are_swept_by_the_rules(evaluated: Path, displaced: Path, tmp_path: Path) -> None:
    words = ("data=lvis", f"data.val_annotations={displaced}", "nms_thresholds=[0.3,0.7,null]", "top_k=[40,300]")
    raw = str(evaluated / "raw_predictions.npz")
    outcome = succeed("eval", "--from", raw, *words, f"hydra.run.dir={tmp_path}")
    assert " APr " in outcome.out
    swept = {(row["nms_threshold"], row["top_k"]): row for row in rows(tmp_path / "sweep.csv")}
    assert set(swept) == {(threshold, limit) for threshold in ("0.3", "0.7", "") for limit in ("40", "300")}
    expected = lvis_numbers(displaced, read(evaluated)[1])
    assert {name: float(swept["0.7", "300"][name]) for name in expected} == pytest.approx(expected, abs=1e-9)
    assert swept["", "40"]["detections"] == str(41 * 40)


def test_a_selection_of_raw_predictions_can_be_evaluated_again(evaluated: Path, tmp_path: Path) -> None:
    words = ("postprocess=nms", "postprocess.max_detections=300")
    succeed("eval", "--from", str(evaluated / "raw_predictions.npz"), *words, f"hydra.run.dir={tmp_path}/first")
    succeed("eval", "--from", str(tmp_path / "first"), f"hydra.run.dir={tmp_path}/second")
    metrics = json.loads((tmp_path / "second" / "metrics.json").read_text())
    assert metrics == pytest.approx(read(evaluated)[0], nan_ok=True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "detection of a category that"),
        (("evaluator=coco",), "has the layout of LVIS"),
        (("evaluator.engine=hotcoco",), "evaluator.engine is no value of the rules of LVIS"),
        (("evaluator=lvis", "evaluator._target_=deta.evaluation.GroundTruth"), "--from knows the rules of"),
    ],
)
def test_stored_predictions_that_do_not_fit_are_refused(
    words: tuple[str, ...], reason: str, shared: Path, tmp_path: Path
) -> None:
    truth = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    image = json.loads(truth.read_text())["images"][0]["id"]
    record = {"image_id": image, "category_id": 123456, "bbox": [0, 0, 9, 9], "score": 0.5}
    (tmp_path / "predictions.json").write_text(json.dumps([record, {**record, "image_id": 777}]))
    write_note(tmp_path, truth, layout="lvis")
    message = fail("eval", "--from", str(tmp_path), *words, f"hydra.run.dir={tmp_path}/out")
    assert reason in message
    assert words or ("123456" in message and "777" in message)
