"""``deta eval``: the same numbers as in training, on the same and on other data."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deta.tracking.metrics import read_metrics
from tests.commands.conftest import Run
from tests.commands.running import FEW_IMAGES, QUIET, SMALL_MODEL, Outcome, fail, succeed
from tests.data.folders import write_dataset


@pytest.fixture(scope="module")
def overfitted(trained: Run, workplace: Path) -> Path:
    """A run that has learnt two pictures by heart, and is evaluated on them, so that its numbers are above 0."""
    root = next((workplace / "cache").glob("shapes-8-4-*"))
    paths = [f"data.root={root}", "data.train_images=train", "data.val_images=train", "augment=flip"]
    paths += [f"data.{split}_annotations=annotations/instances_train.json" for split in ("train", "val")]
    small = [word for word in FEW_IMAGES if not word.startswith("data.num_")]
    speed = ["data.batch_size=8", "trainer.max_epochs=24", "trainer.check_val_every_n_epoch=24", "optimizer.lr=3e-3"]
    speed += ["data.num_workers=0", "trainer.gradient_clip_val=null", "schedule=constant"]
    folder = workplace / "overfitted"
    words = ("train", "model=deta_small", "data=coco", *SMALL_MODEL, *small, *QUIET, *paths, *speed)
    succeed(*words, "trainer.accelerator=cpu", f"hydra.run.dir={folder}")
    return folder


@dataclass(frozen=True)
class Evaluated:
    """The folder of an evaluation, and what its command wrote."""

    folder: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def evaluated(overfitted: Path, workplace: Path) -> Evaluated:
    """That run, evaluated as it was trained."""
    folder = workplace / "overfitted_evaluated"
    return Evaluated(folder, succeed("eval", f"ckpt={overfitted}", "num_pictures=3", f"hydra.run.dir={folder}"))


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_the_twelve_numbers_are_those_of_the_training(overfitted: Path, evaluated: Evaluated) -> None:
    logged = next(row for row in read_metrics(overfitted / "metrics.jsonl") if "val/AP" in row)
    assert metrics(evaluated.folder) == pytest.approx(
        {name.removeprefix("val/"): value for name, value in logged.items() if name.startswith("val/A")}
    )
    assert metrics(evaluated.folder)["AP50"] > 0
    told = dict(line.split() for line in evaluated.outcome.out.splitlines() if line.startswith("AP"))
    assert told["AP50"] == f"{100 * logged['val/AP50']:.2f}"


def test_a_run_leaves_numbers_detections_and_pictures(evaluated: Evaluated) -> None:
    records = json.loads((evaluated.folder / "predictions.json").read_text())
    assert records[0].keys() == {"image_id", "category_id", "bbox", "score"}
    assert len(list((evaluated.folder / "pictures").glob("*.jpg"))) == 3
    assert "class     objects" in evaluated.outcome.out
    assert f"results lie in {evaluated.folder}" in evaluated.outcome.out
    assert re.search(r"\n\d+\.\d% of the time was spent waiting for data; data\.num_workers=\d", evaluated.outcome.out)


def test_another_validation_set_gives_its_own_numbers(overfitted: Path, tmp_path: Path) -> None:
    other = ("data.val_annotations=annotations/instances_val.json", "data.val_images=val")
    outcome = succeed("eval", f"ckpt={overfitted}", *other, f"hydra.run.dir={tmp_path}")
    assert re.search(r"images +4\b", outcome.out)
    assert "instances_val.json; results lie in" in outcome.out
    assert metrics(tmp_path)["AP50"] < 0.5  # it has learnt other pictures by heart


def test_a_data_set_of_another_kind_can_be_chosen(overfitted: Path, tmp_path: Path) -> None:
    words = ("data=shapes", "data.num_train=8", "data.num_val=4", "data.num_workers=0")
    outcome = succeed("eval", f"ckpt={overfitted}", *words, f"hydra.run.dir={tmp_path}")
    assert re.search(r"images +4\b", outcome.out)


def test_the_post_processing_can_be_another_than_in_training(
    overfitted: Path, evaluated: Evaluated, tmp_path: Path
) -> None:
    words = ("postprocess=topk", "postprocess.max_detections=7")
    succeed("eval", f"ckpt={overfitted}", *words, f"hydra.run.dir={tmp_path}")
    stored, topk = (json.loads((folder / "predictions.json").read_text()) for folder in (evaluated.folder, tmp_path))
    assert len(topk) == 8 * 7
    assert len(stored) > len(topk)


def test_the_batch_size_changes_no_number_of_images_of_one_size(overfitted: Path, tmp_path: Path) -> None:
    root = next((overfitted.parent / "cache").glob("shapes-8-4-*"))
    document = json.loads((root / "annotations" / "instances_train.json").read_text())
    sizes = Counter((image["height"], image["width"]) for image in document["images"])
    (size, count), *_ = sizes.most_common(1)
    assert count >= 3
    document["images"] = [image for image in document["images"] if (image["height"], image["width"]) == size]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in kept]
    (tmp_path / "equal.json").write_text(json.dumps(document))
    for batch in (1, count):
        words = (f"data.val_annotations={tmp_path}/equal.json", f"data.eval_batch_size={batch}")
        succeed("eval", f"ckpt={overfitted}", *words, f"hydra.run.dir={tmp_path}/{batch}")
    alone, together = metrics(tmp_path / "1"), metrics(tmp_path / str(count))
    assert alone["AP50"] > 0
    assert alone == pytest.approx(together, abs=1e-6)


def test_a_named_checkpoint_file_is_evaluated_itself(overfitted: Path, tmp_path: Path) -> None:
    path = overfitted / "checkpoints" / "last.ckpt"
    assert f"Evaluated {path} on" in succeed("eval", f"ckpt={path}", f"hydra.run.dir={tmp_path}").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ckpt=nowhere"], "nowhere does not exist: give a checkpoint file or the directory of a run"),
        (["ckpt=RUN/config.yaml"], "config.yaml cannot be read as a checkpoint"),
        (["ckpt=RUN", "data.root=nowhere"], "data.root is no value of the data set that"),
        (["ckpt=RUN", "data=coco", "data.root=nowhere"], "instances_val2017.json does not exist; check data.root"),
        (["ckpt=RUN", "precision=fp8"], "Precision 'fp8' is invalid"),
        (["ckpt=RUN", "evaluator.max_detections=5"], "max_detections must be at least 10, got 5"),
        (["ckpt=RUN", "batch_size=5"], "the configuration has no key batch_size; did you mean data.eval_batch_size?"),
    ],
)
def test_a_mistake_is_named(trained: Run, tmp_path: Path, words: list[str], message: str) -> None:
    given = [word.replace("RUN", str(trained.folder)) for word in words]
    assert message in fail("eval", *given, f"hydra.run.dir={tmp_path}")


def test_data_of_other_classes_is_refused(trained: Run, tmp_path: Path) -> None:
    path = write_dataset(tmp_path, num_images=2, split="val")
    words = ("data=coco", f"data.root={tmp_path}", f"data.val_annotations={path}", "data.val_images=val")
    message = fail("eval", f"ckpt={trained.folder}", *words, f"hydra.run.dir={tmp_path}/out")
    assert "val.json has other categories than those that the class indexes stand for (missing 2 'circle'" in message
