"""``import deta``: what it offers, and that it is cheap."""

import logging
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

import deta
from deta.assign import IoUAssigner
from deta.runs.state import RunState
from tests.commands.running import TINY_TRAINING


def test_importing_deta_imports_no_package_that_is_slow() -> None:
    heavy = "{'torch', 'lightning', 'hydra', 'numpy', 'omegaconf', 'PIL'}"
    code = f"import sys, deta; deta.__version__; sys.exit(bool({heavy} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_deta_offers_is_listed_and_nothing_else_is_there() -> None:
    assert {"load", "train", "compare_rules", "Model", "Result", "Box", "Run"} <= set(dir(deta))
    with pytest.raises(AttributeError, match="module 'deta' has no attribute 'lod'; it offers Box, Model"):
        deta.lod  # noqa: B018  # that it is looked for is the test


def state_of_program() -> tuple[object, ...]:
    """What a training inside of a program must leave as it is."""
    handled = (signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT))
    return [*logging.getLogger().handlers], [*warnings.filters], warnings.formatwarning, *handled


def test_a_training_goes_on_where_it_was_and_leaves_the_program_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("deta.commands.train.cpu_times", lambda: None)
    monkeypatch.delenv("DETA_CHILD_COMMAND", raising=False)
    before = state_of_program()
    run = deta.train(*TINY_TRAINING, f"hydra.run.dir={tmp_path}/run")
    assert (run.folder, run.state) == (tmp_path / "run", RunState.DONE)
    assert run.best == tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert 0 <= run.metrics["AP"] <= run.metrics["AP50"] <= 1
    steps = [row["step"] for row in run.history if row.get("train/loss") is not None]
    further = run.resume("trainer.max_epochs=2")
    assert further.folder == run.folder
    assert [row["step"] for row in run.history if row.get("train/loss") is not None] == [*steps, 2, 3]
    assert run.load(device="cpu").path == run.best
    assert state_of_program() == before
    assert not GlobalHydra.instance().is_initialized()
    assert os.environ.get("HYDRA_FULL_ERROR") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cfg"], "--cfg is an option of the command deta train"),
        (["experiment=deta_shapes", "sweep=seeds"], "deta.train does one run"),
        (["experiment=deta_shapes", "trainer.max_epoch=3"], "did you mean trainer.max_epochs"),
        (["ckpt=nowhere"], "nowhere does not exist"),
        ([["experiment=deta_shapes"]], "words are texts, one argument each"),
    ],
)
def test_a_word_that_does_not_fit_is_an_exception(words: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        deta.train(*words)


def test_a_folder_without_a_run_has_no_numbers(tmp_path: Path) -> None:
    run = deta.Run(tmp_path)
    assert (run.state, run.metrics, run.history) == (RunState.MISSING, {}, [])
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoints/best\.ckpt"):
        run.best  # noqa: B018  # that it is looked for is the test


def test_rules_are_compared_on_boxes_of_the_program() -> None:
    objects = [[10, 10, 60, 80], [100, 10, 150, 80]]
    candidates = np.array([[10, 10, 60, 80], [12, 10, 60, 80], [100, 10, 150, 45], [0, 0, 5, 5]])
    rules = {"strict": IoUAssigner(tau=0.9, gamma=None), "lax": IoUAssigner(tau=0.4, gamma=None)}
    compared = deta.compare_rules(objects, (128, 160), rules, candidates=candidates)
    assert compared.targets["lax"][0].tolist() == [0, 0, 1, -1]
    rows = {row["rule"]: row for row in compared.rows() if row["size"] == "all"}
    assert (rows["lax"]["positives"], rows["lax"]["unmatched"]) == (3, 0)
    assert int(str(rows["strict"]["positives"])) >= 2
    assert str(compared).splitlines()[0].split()[:2] == ["rule", "positives"]


def test_every_image_may_have_its_own_candidates_and_counts() -> None:
    boxes = [np.array(each).reshape(-1, 4) for each in ([0, 0, 40, 40], [], [0, 0, 40, 40, 60, 60, 90, 90])]
    compared = deta.compare_rules(boxes, [(64, 64), (64, 64), (96, 96)], ["iou", "atss"])
    rows = {(row["rule"], row["size"]): row for row in compared.rows()}
    assert rows["iou", "all"]["objects"] == 3
    assert all(len(targets) > 0 for targets in compared.targets["atss"])


def test_images_without_an_object_count_where_boxes_are_lists() -> None:
    listed: list[list[list[list[int]]]] = [[[], [[0, 0, 40, 40]]], [[], []]]
    for boxes in listed:
        assert len(deta.compare_rules(boxes, [(64, 64), (64, 64)], ["iou"]).targets["iou"]) == 2


@pytest.mark.parametrize(("words", "message"), [({"scores": [1.5]}, "0..1"), ({"shared_iou": 2}, "shared_iou must be")])
def test_shares_are_no_more_than_one(words: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deta.compare_rules([[0, 0, 9, 9]], (9, 9), ["iou"], candidates=[[0, 0, 9, 9]], **words)  # type: ignore[arg-type]


def test_a_training_beside_the_main_thread_is_refused(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="in the main thread"):
        pool.submit(deta.train, "experiment=deta_shapes", f"hydra.run.dir={tmp_path}/run").result()
    assert not (tmp_path / "run").exists()


def test_a_rule_that_looks_at_predictions_takes_their_scores() -> None:
    candidates, objects = [[0, 0, 40, 40], [1, 1, 40, 40]], [[0, 0, 40, 40]]
    with pytest.raises(ValueError, match="hungarian looks at what a network predicts: give candidates"):
        deta.compare_rules(objects, (64, 64), ["hungarian"])
    for scores, expected in (([0.9, 0.01], [0, -1]), ([0.001, 0.99], [-1, 0])):
        found = deta.compare_rules(objects, (64, 64), ["hungarian"], candidates=candidates, scores=scores)
        assert found.targets["hungarian"][0].tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 0, 1]], (9, 9)), r"boxes must be \[K, 4\] of each image, got \[1, 3\]"),
        (([[5, 0, 1, 1]], (9, 9)), "boxes xyxy with x0 <= x1"),
        (([[0, 0, 1, 1]], 9), "sizes must be"),
        (
            ([[0, 0, 1, 1]], (9, 9), ["iuo"]),
            "did you mean|one of its choices",
        ),
        (([[0, 0, 1, 1]], (9, 9), "iou"), "rules must be a list of names or rules"),
        (([[0, 0, 1, 1], [0, 0]], (9, 9)), "boxes must be numbers, an array for each image"),
        (([[0, 0, 1, 1]], (9, 9), [None]), "rules: NoneType must be something to call"),
        (([[[0, 0, 1, 1]]] * 3, [(9, 9)] * 2), "sizes must be given once or for each of 3 images, got 2"),
    ],
)
def test_what_does_not_fit_is_named(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deta.compare_rules(*arguments)  # type: ignore[arg-type]  # a mistake is the test
