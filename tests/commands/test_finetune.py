"""``experiment=finetune``: classes taken over by name, a length by the data, and a continuation that is exact."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from deta.training.checkpoint import read_checkpoint
from scripts.resume.kill_and_continue import differences
from tests.commands.conftest import Run
from tests.commands.running import FEW_IMAGES, QUIET, SMALL_MODEL, succeed
from tests.commands.test_signals import finish, training, wait_for_steps

FINETUNE = ("experiment=finetune", "size=shapes", *SMALL_MODEL, *QUIET)


def test_classes_of_another_training_are_taken_over_and_its_length_follows_from_the_data(
    trained: Run, tmp_path: Path
) -> None:
    words = (*FINETUNE, *FEW_IMAGES, f"weights={trained.folder}", "callbacks.length.steps=3")
    still = ("optimizer.lr=0", "optimizer.make.weight_decay=0", "callbacks.length.fewest_epochs=1")
    succeed("train", *words, *still, f"hydra.run.dir={tmp_path}")
    log = (tmp_path / "train.log").read_text()
    assert "6 of 6 classes taken over by name: " in log
    assert "An epoch has 2 steps: the training has 2 epochs, 4 steps" in log
    found, expected = (read_checkpoint(folder).weights for folder in (tmp_path, trained.folder))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    done = json.loads((tmp_path / "done.json").read_text())
    assert (done["step"], done["epoch"]) == (4, 2)
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.slow
def test_a_killed_fine_tuning_goes_on_bit_by_bit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    common = ("data.num_train=12", "data.num_workers=0", "callbacks.resume.every_n_steps=2")
    finish(source, *common, "trainer.max_epochs=1")
    words = ("experiment=finetune", "size=shapes", *common, f"weights={source}", "callbacks.length.steps=16")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole, *words)
    with training(killed, *words) as process:
        wait_for_steps(killed, process, 8)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finish(killed, *words)
    assert differences(whole, killed) == []
