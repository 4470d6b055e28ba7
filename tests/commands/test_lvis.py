"""The LVIS experiment from the command line: trained, killed, continued and evaluated, on real images."""

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
from deta.engine.checkpoint import read_checkpoint
from deta.engine.tracking import read_metrics
from tests.commands.running import QUIET, SMALL_MODEL, fail, succeed
from tests.engine.lvis_rules import lvis_numbers
from tests.engine.tiny import is_same

pytest.importorskip("faster_coco_eval")
EXPERIMENT = (
    "experiment=deta_r50_lvis_12ep",
    "model=deta_small",
    *SMALL_MODEL,
    "augment=flip_resize",
    "augment.short_sides=[64,80]",
    "augment.eval_short_side=80",
    "criterion.federated=true",
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
    evaluate(whole, folder)
    return folder


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


def test_evaluation_gives_the_numbers_of_the_rules(whole: Path, evaluated: Path, shared: Path, tmp_path: Path) -> None:
    path = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    metrics, records = read(evaluated)
    assert len(records) == 41 * 300
    assert not (evaluated / "matches.npz").exists()  # by COCO's rules, which are not those of the numbers
    assert metrics == pytest.approx(lvis_numbers(path, records), abs=1e-9, nan_ok=True)
    logged = next(row for row in read_metrics(whole / "metrics.jsonl") if "val/APr" in row)
    assert metrics == pytest.approx({name: logged[f"val/{name}"] for name in metrics}, abs=1e-6, nan_ok=True)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(annotations_from(records, path, np.random.default_rng(0))))
    metrics, same = evaluate(whole, tmp_path / "again", f"data.val_annotations={other}")
    assert same == records
    assert metrics == pytest.approx(lvis_numbers(other, records), abs=1e-9)
    assert min(metrics[name] for name in ("AP", "APr", "APc", "APf")) > 0.02


@pytest.mark.slow
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
    assert "has the layout of LVIS (images with neg_category_ids); use data=lvis instead of data=coco, and" in message


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
    assert "1 rules on 3 images" in succeed("data", "assign", *common, "grid=null", "num_images=3", "num_workers=1").out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "the annotations have the layout of LVIS"),
        (("evaluator=lvis",), "evaluator._target_=deta.engine.evaluation.LvisEvaluator"),
        (("data=lvis", "data.root=ROOT"), "the annotations have the layout of LVIS"),
    ],
)
def test_the_analysis_of_stored_predictions_is_refused(
    words: tuple[str, ...], reason: str, shared: Path, tmp_path: Path
) -> None:
    truth = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    (tmp_path / "predictions.json").write_text("[]")
    write_note(tmp_path, truth, layout="lvis")
    given = [word.replace("ROOT", str(shared / "data/lvis_sample")) for word in words]
    message = fail("eval", "--from", str(tmp_path), *given, f"hydra.run.dir={tmp_path}/out")
    assert f"{reason}: --from evaluates and analyses by COCO's rules alone" in message
