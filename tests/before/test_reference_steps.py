"""Steps that a state of the code has recorded are made again by this one."""

from pathlib import Path

import pytest

from scripts.reference import steps


@pytest.mark.gate
def test_recorded_steps_are_made_again_with_their_weights_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in steps._WORDS if not word.startswith("trainer.max_steps")]
    monkeypatch.setattr(steps, "NUM_STEPS", 2)
    monkeypatch.setattr(steps, "NOISE_SEEDS", (1,))
    monkeypatch.setattr(steps, "_WORDS", (*words, "trainer.max_steps=2"))
    steps.record("sampled", tmp_path)
    losses, spread = steps.recorded(tmp_path)
    assert len(losses) == 2
    assert any(value > 0 for value in spread[1].values())  # the noise has an effect
    assert steps.repeat("sampled", tmp_path) == losses
