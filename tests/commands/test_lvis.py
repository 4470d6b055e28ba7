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
def words(shared: Path) -> tuple[str, ...]:
    """The whole command line but the directory."""
    images = ("data.train_images=../coco_sample", "data.val_images=../coco_sample")
    return (*EXPERIMENT, f"data.root={shared}/data/lvis_sample", *images)


@pytest.fixture(scope="module")
def whole(words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    succeed("train", *words, f"hydra.run.dir={folder}")
    return folder


def evaluate(run: Path, folder: Path, *words: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Numbers and detections of ``deta eval``."""
    succeed("eval", f"ckpt={run}", "num_pictures=0", "accelerator=cpu", *words, f"hydra.run.dir={folder}")
    return json.loads((folder / "metrics.json").read_text()), json.loads((folder / "predictions.json").read_text())


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


def test_evaluation_gives_the_numbers_of_the_rules(whole: Path, shared: Path, tmp_path: Path) -> None:
    path = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    metrics, records = evaluate(whole, tmp_path / "own")
    assert len(records) == 41 * 300
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
