"""A training whose rule changes goes over to the other one, and goes on exactly around the change."""

import contextlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from deta.assign import IoUAssigner
from deta.losses import Criterion, Until
from deta.tracking.metrics import read_metrics
from deta.training.callbacks import ResumeCheckpoint
from tests.losses.criteria import QueryCriterion
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights

STEPS_PER_EPOCH = 2


class Death(BaseException):
    """The process is gone."""


class Leave(pl.Callback):
    """Leaves before a step."""

    def __init__(self, before: int | None) -> None:
        self._before = before

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Leave, or not."""
        if trainer.global_step == self._before:
            raise Death


def criterion() -> Criterion:
    """Boxes of the layers have no L1 in the first epoch."""
    assigner = IoUAssigner(tau=0.6)
    rules = QueryCriterion(layer_assigner=assigner, proposal_assigner=assigner).rules
    then = rules["layers"]
    first = {name: term for name, term in then.box_terms.items() if name != "l1"}
    options: dict[str, Any] = {**vars(then), "box_terms": first}
    return Criterion({**rules, "layers": Until(**vars(then), epoch=1, first=type(then)(**options))})


def train(cache: Path, folder: Path, *, leave_before: int | None = None) -> dict[str, torch.Tensor]:
    """Two epochs, or what is left of them."""
    data = shapes(cache, num_train=2 * STEPS_PER_EPOCH)
    module, saved = detection_module(data, criterion=criterion()), folder / "checkpoints" / "last.ckpt"
    callbacks = [Leave(leave_before), ResumeCheckpoint(folder=saved.parent, every_n_steps=1)]
    trainer = make_trainer(folder, callbacks=callbacks, max_epochs=2)
    with contextlib.suppress(Death):
        trainer.fit(module, datamodule=data, ckpt_path=saved if saved.exists() else None, weights_only=True)
    return weights(module)


def steps(folder: Path) -> list[dict[str, float]]:
    """What was logged of every training step."""
    terms = [
        {name: value for name, value in row.items() if name.startswith("train/")}
        for row in read_metrics(folder / "metrics.jsonl")
    ]
    return [row for row in terms if row]


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize("leave_before", [1, 2, 3])
def test_a_run_killed_around_the_change_ends_as_one_that_was_not(
    cache: Path, tmp_path: Path, leave_before: int
) -> None:
    end = train(cache, tmp_path / "whole")
    logged = steps(tmp_path / "whole")
    has_l1 = [any(name.endswith("/l1") and "proposals" not in name for name in row) for row in logged]
    assert has_l1 == [False] * STEPS_PER_EPOCH + [True] * STEPS_PER_EPOCH
    train(cache, tmp_path / "parts", leave_before=leave_before)
    assert is_same(train(cache, tmp_path / "parts"), end)
    assert steps(tmp_path / "parts") == logged
