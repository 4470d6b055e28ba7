"""A data set is part of a run: other data are refused by name, wherever they lie."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from deta.cli import config_dir
from deta.commands.study import _require_same_data
from deta.console.datasets import configured_data, require_same_data
from deta.console.naming import register_resolvers
from deta.data.fingerprint import recipe_fingerprint
from deta.data.shapes_recipe import ShapesRecipe
from deta.runs.cells import read_cells
from deta.runs.data_record import DATA, DataRecord, read_data, write_data
from deta.runs.folders import find_runs
from deta.runs.state import RunState, mark_done, read_status
from deta.studies.plan import Plan, PlannedRun, Study
from deta.training.checkpoint import AtomicCheckpointIO, read_stored_data, read_training
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, deta, fail, succeed
from tests.data.folders import write_dataset
from tests.studies.declared import CONTENT

FILES = (
    *(f"data.{split}_annotations=annotations/{split}.json" for split in ("train", "val")),
    *(f"data.{split}_images={split}" for split in ("train", "val")),
)
OF_SHAPES = ("data.num_train", "data.num_val")
PLAIN = [word for word in TINY_TRAINING if word.partition("=")[0] not in OF_SHAPES]
WORDS = ("data=coco", "augment=flip", *PLAIN, *FILES, "data.pad_to=[128,128]")


def dataset(root: Path) -> Path:
    """A data set of a few small pictures."""
    write_dataset(root, num_images=8)
    write_dataset(root, num_images=3, split="val")
    return root


def change(root: Path) -> None:
    """Leave out an object."""
    path = root / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("made"))


@pytest.fixture
def hydra() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def drawn(num_train: int) -> DataRecord:
    """What is on record of generated pictures."""
    recipe = ShapesRecipe(num_train=num_train, num_val=4)
    return DataRecord({"train": recipe_fingerprint(recipe, "train"), "val": recipe_fingerprint(recipe, "val")})


def other(folder: Path) -> Path:
    """A run that is done, trained with other pictures than those of the demo."""
    folder.mkdir(parents=True)
    write_data(folder, drawn(5))
    mark_done(folder, {"AP": 0.5})
    return folder


def test_a_run_goes_on_where_its_data_were_moved_and_is_refused_where_they_changed(made: Path, tmp_path: Path) -> None:
    here, there, run = tmp_path / "here", tmp_path / "there", tmp_path / "run"
    shutil.copytree(made, here)
    succeed("train", *WORDS, f"data.root={here}", f"hydra.run.dir={run}")
    here.rename(there)
    outcome = succeed("train", f"ckpt={run}", f"data.root={there}", "trainer.max_epochs=2")
    assert "not compared" not in outcome.err
    record = read_data(run)
    assert record is not None
    assert record.places["train"] == str(there / "annotations" / "train.json")
    assert json.loads((run / "done.json").read_text())["data"] == record.to_dict()
    change(there)
    before = (run / DATA).read_bytes(), (run / "done.json").read_bytes()
    for words in (
        (f"ckpt={run}", "trainer.max_epochs=3"),
        (*WORDS, f"data.root={there}", "ckpt=auto", f"hydra.run.dir={run}"),
    ):
        message = fail("train", *words)
        place = f"{there}/annotations/train.json"
        assert f"{run} was trained with other data: train {place} (8 images, 12 boxes, 2 classes, digest " in message
        assert f"not {place} (8 images, 11 boxes, 2 classes, digest " in message
        assert "boxes 12 -> 11. Give the run its own data (data.root), or train in another folder" in message
    assert ((run / DATA).read_bytes(), (run / "done.json").read_bytes()) == before
    outcome = deta("runs", "resume", f"folder={tmp_path}")
    assert (outcome.code, "was trained with other data" in outcome.err) == (1, True)


def test_the_settings_of_a_done_run_of_somebody_else_lead_to_no_store(trained: Run, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(trained.folder, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    data = {"root": "/", "train_annotations": "a.json", "val_annotations": "b.json"}
    config["data"] = {**data, "source": "shards", "shards": "s3://bucket/x", "shard_cache": str(tmp_path / "MARK")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = deta("runs", "resume", f"folder={run}")
    assert outcome.code == 1
    assert "asks for 'data.root=/', which names a remote address or a device" in outcome.err
    assert not (tmp_path / "MARK").exists()


def test_a_run_whose_record_of_its_data_is_gone_has_that_of_its_checkpoint(own_run: Path) -> None:
    (own_run / DATA).unlink()
    more = ("train", f"ckpt={own_run}", "trainer.max_epochs=2")
    assert "last.ckpt was trained with other data: " in fail(*more, "data.num_train=9")
    outcome = succeed(*more)
    assert "not compared" not in outcome.err
    assert read_data(own_run) is not None


def test_a_checkpoint_of_a_part_that_made_no_step_knows_its_data(own_run: Path) -> None:
    last, done = own_run / "checkpoints" / "last.ckpt", own_run / "done.json"
    known = read_stored_data(last)
    last.unlink()
    done.unlink()  # killed before its end
    succeed("train", *TINY_TRAINING, "ckpt=auto", f"hydra.run.dir={own_run}")
    assert read_stored_data(last) == known is not None


def test_a_checkpoint_that_lies_alone_knows_its_data(trained: Run, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "last.ckpt"
    alone.parent.mkdir()
    shutil.copy(trained.folder / "checkpoints" / "last.ckpt", alone)
    words = ["train", *TINY_TRAINING, "trainer.max_epochs=2", f"ckpt={alone}"]
    message = fail(*words, "data.num_val=5", f"hydra.run.dir={tmp_path}/other")
    assert f"{alone} was trained with other data: " in message
    assert "images 4 -> 5" in message
    outcome = succeed(*words, f"hydra.run.dir={tmp_path}/same")
    assert "not compared" not in outcome.err


def test_a_checkpoint_without_a_record_of_its_data_goes_on_with_one_line_and_a_damaged_one_not(
    trained: Run, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    content = read_training(trained.folder / "checkpoints" / "last.ckpt")
    assert DataRecord.from_dict(content["deta"]["data"]) == read_data(trained.folder)
    words = ("train", *TINY_TRAINING, "trainer.max_epochs=2", f"ckpt={path}", f"hydra.run.dir={tmp_path}/run")
    content["deta"]["data"] = {"train": 3}
    AtomicCheckpointIO().save_checkpoint(content, path)
    assert f"{path}: a record of data has the keys train, val" in fail(*words)
    del content["deta"]["data"]
    AtomicCheckpointIO().save_checkpoint(content, path)
    assert succeed(*words).err.count(f"{path}: its data are not on record") == 1


def test_a_sweep_of_data_sets_trains_all_and_skips_none_of_other_content(made: Path, tmp_path: Path) -> None:
    first, second, folder = tmp_path / "A", tmp_path / "B", tmp_path / "sweep"
    for root in (first, second):
        shutil.copytree(made, root)
    words = ("train", "-m", *WORDS, f"data.root={first},{second}", f"hydra.sweep.dir={folder}")
    assert "2 done" in succeed(*words).out
    assert sorted(path.name.partition("-")[0] for path in find_runs(folder)) == ["rootA", "rootB"]
    assert {path.name for path in find_runs(folder)} == set(read_cells(folder))
    assert [read_data(path).places["train"].split("/")[-3] for path in find_runs(folder)] == ["A", "B"]  # type: ignore[union-attr]
    change(second)
    outcome = deta(*words)
    assert outcome.code == 1
    assert outcome.out.count("done, skipped") == 1
    assert outcome.err.count("was trained with other data") == 1


def test_data_of_generated_pictures_are_known_by_their_recipe(hydra: None) -> None:
    cfg = compose("train", ["experiment=deta_shapes", "data.num_train=7", "data.num_val=4"], return_hydra_config=True)
    assert configured_data(cfg) == drawn(7)
    assert configured_data(cfg) != drawn(8)


def test_data_modules_of_others_are_not_compared(hydra: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = compose("train", ["experiment=deta_shapes", "~data.recipe_seed"], return_hydra_config=True)
    require_same_data(cfg, [other(tmp_path / "run")])
    assert "they are not compared" in caplog.text


def test_a_study_counts_no_run_of_other_data_as_done(hydra: None, tmp_path: Path) -> None:
    study = Study.from_config(CONTENT)
    words = ("experiment=deta_shapes", "data.num_train=7", "data.num_val=4")
    plan = Plan(study, tuple(PlannedRun(f"run{seed}", study.cells()[0], seed, words) for seed in study.seeds))
    _require_same_data(plan, tmp_path)
    other(tmp_path / "run0")
    with pytest.raises(
        ValueError, match=r"run0 was trained with other data: train .*/train \(5 images.* not .*\(7 ima"
    ):
        _require_same_data(plan, tmp_path)


def test_a_search_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    run = other(tmp_path / "0")
    words = ("search=lr", "experiment=deta_shapes", "search.num_trials=1", f"hydra.run.dir={tmp_path}")
    assert f"{run} was trained with other data" in fail("search", *words)
    assert read_status(run).state == RunState.DONE
