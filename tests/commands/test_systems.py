"""Every system from training to the files that it writes: stopped, continued, evaluated, shown and converted."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from deta.training.checkpoint import read_checkpoint
from scripts.resume.kill_and_continue import differences
from tests.commands.running import succeed
from tests.commands.test_predict import photo
from tests.commands.test_signals import finish, training, wait_for_steps
from tests.systems.composed import DENSE, REGIONS, SYSTEMS, words_of

SHORT = ("data.num_train=12", "data.num_workers=0", "trainer.max_epochs=2", "callbacks.resume.every_n_steps=2")
"""Six steps in an epoch."""


def words(system: str) -> tuple[str, ...]:
    """Behind those of ``test_signals.TRAINING``."""
    if system in REGIONS:  # small parts of their own, of which what little is learnt is to be detected
        return (*words_of(system), *SHORT, "postprocess.threshold=0")
    return (*words_of(system)[:2], *SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS + DENSE + REGIONS)
def test_a_killed_training_goes_on_bit_by_bit_and_its_run_is_evaluated_shown_and_converted(
    system: str, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole, *words(system))
    with training(killed, *words(system)) as process:
        wait_for_steps(killed, process, 5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finish(killed, *words(system))
    assert differences(whole, killed) == []
    succeed("eval", f"ckpt={killed}", f"hydra.run.dir={tmp_path}/eval")
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text()).keys() >= {"AP", "AP50"}
    picture = photo(tmp_path / "a.png", height=64, width=64)
    succeed("predict", f"ckpt={killed}", f"source={picture}", "min_score=0", f"hydra.run.dir={tmp_path}/shown")
    assert json.loads((tmp_path / "shown" / "predictions.json").read_text())
    published, back = tmp_path / "published.pth", tmp_path / "back.ckpt"
    succeed("convert", "direction=to_release", f"source={killed}/checkpoints/last.ckpt", f"target={published}")
    succeed("convert", *words_of(system), "num_classes=6", f"source={published}", f"target={back}")
    weights, expected = (read_checkpoint(path).weights for path in (back, killed / "checkpoints" / "last.ckpt"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
