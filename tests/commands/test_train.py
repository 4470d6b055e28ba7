"""``deta train`` from the command line to the files of the run."""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from deta.tracking.metrics import read_metrics
from deta.tracking.wandb import ID_FILE
from deta.training.checkpoint import read_checkpoint
from deta.training.module import DetectionModule
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, deta, fail, succeed
from tests.tracking.wandb_records import merged, numbers, of_kind, parts, records
from tests.training.tiny import is_same


def table_values(out: str) -> dict[str, float]:
    """The numbers of the AP table that a command printed."""
    rows = [line.split() for line in out.splitlines()]
    return {row[0]: float(row[1].replace("-", "nan")) for row in rows if len(row) == 2 and row[0].startswith("A")}


def steps(folder: Path) -> list[int]:
    """Steps that logged a training loss."""
    return [row["step"] for row in read_metrics(folder / "metrics.jsonl") if "train/loss" in row]


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / "checkpoints" / "last.ckpt").weights)


def test_a_run_leaves_everything_that_it_was_made_with(trained: Run) -> None:
    config = OmegaConf.load(trained.folder / "config.yaml")
    assert config.model.body.hidden_dim == 32
    assert config.model.body.encoder.hidden_dim == 32  # resolved, no interpolation is left
    assert "${" not in (trained.folder / "config.yaml").read_text()
    record = json.loads((trained.folder / "environment.json").read_text())
    assert record["seed"] == 0
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"git", "command", "platform", "devices"} <= set(record)


def test_a_run_leaves_its_metrics_and_checkpoints(trained: Run) -> None:
    assert steps(trained.folder) == [0, 1]
    with (trained.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(row["val/AP50"] for row in rows)
    assert any(row["assign/layers/positives_per_object"] for row in rows)
    assert any(row["lr-AdamW/backbone"] for row in rows)
    for name in ("best", "last"):
        checkpoint = read_checkpoint(trained.folder / "checkpoints" / f"{name}.ckpt")
        assert checkpoint.category_names[0] == "circle"
        assert checkpoint.config["model"]["body"]["hidden_dim"] == 32


FIGURES = ("learning_curve", "assignment", "class_curves", "confusion")


def test_a_run_leaves_pictures_and_figures(trained: Run) -> None:
    paths = [trained.folder / "pictures" / f"val_{k}.jpg" for k in range(4)]
    paths += [trained.folder / "figures" / f"{name}.png" for name in FIGURES]
    for path in paths:
        with Image.open(path) as image:
            image.load()
        assert str(path.parent.name) in trained.outcome.out
    classes = (trained.folder / "class_scores.csv").read_text().splitlines()
    assert classes[0].startswith("class,objects,F1,score")
    assert classes[1].startswith("circle,")
    assert (trained.folder / "confusion.csv").read_text().startswith("object,detected as,number")


def test_the_table_of_average_precision_is_printed(trained: Run) -> None:
    values = table_values(trained.outcome.out)
    logged = next(row for row in read_metrics(trained.folder / "metrics.jsonl") if "val/AP" in row)
    assert set(values) == {name.removeprefix("val/") for name in logged if name.startswith("val/A")}
    assert values["AP50"] == pytest.approx(100 * logged["val/AP50"], abs=5e-3)  # printed with two decimals


def test_every_message_stands_in_the_terminal_and_the_log_once(trained: Run) -> None:
    log = (trained.folder / "train.log").read_text()
    for text in (trained.outcome.err, log):
        assert text.count("`Trainer.fit` stopped") == 1
        assert text.count("The model has ") == 1
        assert not re.search("GPU available|TPU|FLOPs", text)
        assert "litlogger" not in text


def test_an_equal_seed_gives_equal_weights_and_another_seed_does_not(trained: Run, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        succeed("train", *TINY_TRAINING, f"seed={seed}", f"hydra.run.dir={tmp_path}/{name}")
    assert is_same(final_weights(trained.folder), final_weights(tmp_path / "same"))
    assert not is_same(final_weights(trained.folder), final_weights(tmp_path / "other"))


def test_a_continued_run_goes_on_in_its_directory_as_if_it_was_never_stopped(own_run: Path, tmp_path: Path) -> None:
    outcome = succeed("train", f"ckpt={own_run}", "trainer.max_epochs=2")
    assert f"Run directory: {own_run}" in outcome.out
    assert "other settings than the one before: trainer.max_epochs 1 -> 2\n" in outcome.err
    assert steps(own_run) == [0, 1, 2, 3]
    assert OmegaConf.load(own_run / "config-1.yaml").trainer.max_epochs == 2
    assert OmegaConf.load(own_run / "config-1.yaml").model.body.hidden_dim == 32
    assert (own_run / "environment-1.json").exists()
    succeed("train", *TINY_TRAINING, "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/whole")
    assert is_same(final_weights(own_run), final_weights(tmp_path / "whole"))
    succeed("train", f"ckpt={own_run}/checkpoints/last.ckpt", "trainer.max_epochs=3")  # a second time, from a file
    assert steps(own_run) == list(range(6))
    earlier = OmegaConf.load(own_run / ".hydra" / "overrides.yaml")
    given = [str(word).replace("'", "") for word in earlier if str(word).startswith("ckpt=")]
    assert given == [f"ckpt={own_run}/checkpoints/last.ckpt"]


def test_a_run_that_was_killed_after_its_last_validation_ends_as_if_it_was_not(own_run: Path) -> None:
    done = own_run / "done.json"
    unbroken = done.read_bytes()
    assert json.loads(unbroken)["AP"] is not None
    done.unlink()
    outcome = succeed("train", f"ckpt={own_run}")
    assert done.read_bytes() == unbroken
    logged = next(row for row in read_metrics(own_run / "metrics.jsonl") if "val/AP" in row)
    assert table_values(outcome.out)["AP50"] == pytest.approx(100 * logged["val/AP50"], abs=5e-3)
    assert "\nimages " in outcome.out


AT_ONCE = """
import json, sys
from deta.cli import main

for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    main()
    print("torch" in sys.modules)
"""


def test_a_finished_run_that_is_continued_says_at_once_that_nothing_is_left(own_run: Path) -> None:
    score = json.loads((own_run / "done.json").read_text())["AP"]
    told = f"{own_run} is done (2 steps, AP {100 * score:.2f}): to train it further give trainer.max_epochs above 1\n"
    words: tuple[tuple[str, ...], ...] = ((), ("cluster=sbatch",), ("trainer.max_epochs=1", "optimizer.lr=1"))
    lines = json.dumps([["train", f"ckpt={own_run}", *more] for more in words])
    outcome = subprocess.run([sys.executable, "-c", AT_ONCE, lines], check=True, capture_output=True, text=True)
    assert outcome.stdout == len(words) * f"{told}False\n"
    further = f"{own_run} is done, and jobs leave done runs alone"
    assert further in fail("train", f"ckpt={own_run}", "trainer.max_epochs=2", "cluster=sbatch")


def test_a_run_that_ended_inside_its_last_epoch_goes_on_with_more_steps(tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed("train", *TINY_TRAINING, "trainer.max_steps=1", f"hydra.run.dir={run}")
    done = json.loads((run / "done.json").read_text())
    assert done["epoch"] == 0  # whole ones
    assert f"{run} is done (1 step)" in succeed("train", f"ckpt={run}").out
    (run / "done.json").unlink()  # as killed at its end
    succeed("train", f"ckpt={run}")
    assert json.loads((run / "done.json").read_text()) == done
    succeed("train", f"ckpt={run}", "trainer.max_steps=2")
    done = json.loads((run / "done.json").read_text())
    assert (done["step"], done["epoch"], done["scores_epoch"]) == (2, 1, 1)


def test_a_finished_run_is_evaluated_further_under_another_selection(own_run: Path) -> None:
    words = ("train", f"ckpt={own_run}", "+postprocess@evaluations.topk=topk")
    succeed(*words)
    assert (own_run / "evaluations" / "topk" / "metrics.json").is_file()
    assert steps(own_run) == [0, 1]
    assert "is done (2 steps" in succeed(*words).out


def test_epochs_that_are_not_evaluated_are_saved_and_announced(tmp_path: Path) -> None:
    outcome = succeed(
        "train", *TINY_TRAINING, "trainer.check_val_every_n_epoch=2", "data.num_train=4", f"hydra.run.dir={tmp_path}"
    )
    assert "The last 1 of 1 epoch is not evaluated: trainer.check_val_every_n_epoch=2" in outcome.err
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()
    assert "AP50" not in outcome.out
    reason = "not evaluated, since trainer.check_val_every_n_epoch=2 and the run ended after 1 epoch"
    assert f"\nNo scores: {reason}\n" in outcome.out


def test_a_second_run_in_the_same_directory_is_refused(trained: Run) -> None:
    before = (trained.folder / "metrics.jsonl").read_bytes()
    message = fail("train", *TINY_TRAINING, f"hydra.run.dir={trained.folder}")
    assert f"{trained.folder} holds a run already: continue it with ckpt={trained.folder}" in message
    assert (trained.folder / "metrics.jsonl").read_bytes() == before


def test_a_directory_whose_run_has_saved_nothing_is_told_how_to_start_again(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    message = fail("train", *TINY_TRAINING, f"hydra.run.dir={tmp_path}")
    assert "holds a run that has saved nothing yet: start it again by ckpt=auto in the same command" in message


def test_a_run_starts_from_the_weights_of_another(trained: Run, tmp_path: Path) -> None:
    frozen = ("optimizer.lr=0", "optimizer.make.weight_decay=0", f"weights={trained.folder}")
    succeed("train", *TINY_TRAINING, *frozen, f"hydra.run.dir={tmp_path}")
    expected = dict(read_checkpoint(trained.folder).weights)
    assert is_same(final_weights(tmp_path), expected)
    assert steps(tmp_path) == [0, 1]


def test_averaged_weights_train_evaluate_and_continue(tmp_path: Path) -> None:
    succeed("train", *TINY_TRAINING, "callbacks=ema", "callbacks.ema.decay=0.5", f"hydra.run.dir={tmp_path}/run")
    succeed("train", f"ckpt={tmp_path}/run", "trainer.max_epochs=2")
    assert steps(tmp_path / "run") == [0, 1, 2, 3]
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    average, current = content["state_dict"], content["current_model_state"]
    assert average.keys() == current.keys()
    assert not is_same(average, current)


def test_weights_and_biases_holds_the_rows_of_a_continued_run_under_one_id(tmp_path: Path) -> None:
    run = tmp_path / "my_sweep" / "my_run"
    outcome = succeed("train", *TINY_TRAINING, "logger=wandb", f"hydra.run.dir={run}")
    assert "WARNING" not in outcome.err
    succeed("train", f"ckpt={run}", "trainer.max_epochs=2")
    first, second = (records(path) for path in parts(run))
    rows = merged(read_metrics(run / "metrics.jsonl"))
    assert len(steps(run)) == 4
    together = numbers(first)
    for step, metrics in numbers(second).items():
        together.setdefault(step, {}).update(metrics)
    assert together == rows
    (earlier,), (later,) = (of_kind(found, "run") for found in (first, second))
    assert earlier["run_id"] == later["run_id"] == (run / ID_FILE).read_text().strip()
    assert earlier["run_id"].startswith("my_sweep-my_run-")
    assert (later["resume"], later["run_group"]) == (True, "my_sweep")
    config = next(config["update"] for config in of_kind(first, "config") if "model" in config["update"])
    assert config["model"]["body"]["hidden_dim"] == 32
    assert {"command", "git", "versions"} <= set(config["environment"])
    files = parts(run)[0].parent / "files" / "media"
    assert len(list(files.glob("images/val/pictures*.png"))) == 1
    assert len(list(files.glob("table/val/classes*.json"))) == 1


def test_gpu_recipe_options_work_on_a_cpu(tmp_path: Path) -> None:
    options = ("trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2", "schedule=constant")
    succeed("train", *TINY_TRAINING, *options, f"hydra.run.dir={tmp_path}")
    rows = read_metrics(tmp_path / "metrics.jsonl")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)


def test_a_run_may_leave_its_best_weights_alone_which_are_used_but_not_continued(tmp_path: Path) -> None:
    succeed("train", *TINY_TRAINING, "keep=weights", f"hydra.run.dir={tmp_path}")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]
    assert read_checkpoint(tmp_path).weights
    found = fail("train", f"ckpt={tmp_path}", "trainer.max_epochs=2")
    assert (
        f"has kept its best weights alone (keep=weights), from which no training goes on: weights={tmp_path}" in found
    )


@pytest.mark.parametrize(("word", "mode"), [("true", True), ("max", "max")])
def test_compile_reaches_the_step(word: str, mode: bool | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    nothing = (f"compile={word}", "trainer.max_steps=0", "trainer.limit_val_batches=0")
    with mock.patch.object(DetectionModule, "compile_step") as compile_step:
        succeed("train", *TINY_TRAINING, *nothing, f"hydra.run.dir={tmp_path}")
    compile_step.assert_called_once_with(mode, with_criterion=False, has_graphs=False)


MISTAKES = {
    "trainer.max_epoch=3": "trainer has no key max_epoch; did you mean trainer.max_epochs?",
    "experiment=deta_shape": "experiment=deta_shape: did you mean experiment=deta_shapes?",
    "seed=x": "deta: seed must be an integer, got 'x'",
    "seed=-1": "deta: seed must be in [0, 4294967295], got -1",
    "optimizer.lr=fast": "deta: optimizer.lr must be a number, got 'fast'",
    "optimizer.lr_factors.backbone=-1": "deta: optimizer.lr_factors.backbone must be at least 0, got -1",
    "+optimizer.make.weight_deca=1": "deta: optimizer.make: AdamW.__init__() got an unexpected keyword argument",
    "optimizer.make.weight_decay=-1": "deta: optimizer.make: Invalid weight_decay value: -1",
    "criterion.rules.layers.assigner.tau=2": "deta: criterion.rules.layers.assigner: tau must be in [0, 1], got 2",
    "data.batch_size=2.5": "deta: data: data.batch_size must be an integer, got 2.5",
    "data.batch_size=500": "make data.batch_size smaller",
    "model.num_classes=3": "deta: model.num_classes must be null or 6, the number of categories",
    "model.body.encoder.num_levels=7": "model.body.encoder.num_levels must equal model.neck.num_levels 3, got 7",
    "schedule.interval=steps": "deta: schedule.interval must be one of epoch, step, got 'steps'",
    "trainer.precision=fp16": "deta: trainer.precision must be one of ",
    "trainer.log_every_n_steps=0": "deta: trainer.log_every_n_steps must be at least 1, got 0",
    "trainer.deterministic=maybe": "deta: trainer.deterministic must be true or false, got 'maybe'",
    "compile=flase": "deta: compile must be false, true (layer by layer) or max (detector and criterion as one graph)",
    "data.train_transform=null": "deta: data: data.train_transform must be something to call",
    "augment.val=null": "deta: data: data.val_transform must be something to call",
    "model.body.source.selection=null": "deta: model.body.source: selection must be something to call",
    "trainer.max_epochs=many": "deta: trainer.max_epochs must be an integer, got 'many'",
    "evaluator.engine=fast": "deta: engine must be one of faster_coco_eval, hotcoco, pycocotools, got 'fast'",
    "schedule.make.milestones=3": "deta: schedule.make: 'int' object is not iterable; --cfg job shows the values",
    "trainer.num_sanity_val_steps=-2": "trainer.num_sanity_val_steps must be at least -1, got -2",
    "logger.file.folder=/proc/x": "directory, where logger.file.folder has the metrics written: '/proc/x/",
    "ckpt=nowhere": "nowhere does not exist: give a checkpoint file or the directory of a run",
    "weights=nowhere": "deta: nowhere does not exist: give a checkpoint file or the directory of a run",
    "criterion=null": "deta: criterion=null: it takes the name of one of its choices: atss, centernet, "
    "centernet_release, deltas, faster_rcnn, fcos, gfl, query, retinanet, retinanet_giou, tood, tood_phases, tsp_rcnn, "
    "yolox, yolox_phases",
    "logger=nothing": "deta: logger=nothing: it takes the name of one of its choices: common, file, mlflow, "
    "tensorboard, wandb",
    "data.batch_size=auto": "deta: data.batch_size=auto looks for the largest batch that fits the memory of a GPU, "
    "and this run trains on cpu: give a number",
    "data=coco": "annotations/instances_train2017.json does not exist; check data.root",
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_gives_one_message_that_names_it(override: str, message: str, tmp_path: Path) -> None:
    words = [word for word in TINY_TRAINING if override != "data=coco" or not word.startswith("data.num_")]
    found = fail("train", *words, override, f"hydra.run.dir={tmp_path}")
    assert message in found
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_stack_trace_is_shown_on_request(tmp_path: Path) -> None:
    words = ("train", *TINY_TRAINING, "seed=x", f"hydra.run.dir={tmp_path}")
    assert "HYDRA_FULL_ERROR=1 shows the stack trace" in fail(*words)
    with pytest.raises(ValueError, match="seed must be an integer"):
        deta(*words, with_trace=True)
