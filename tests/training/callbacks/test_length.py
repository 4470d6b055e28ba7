"""As many epochs as make about so many steps."""

from pathlib import Path

import pytest

from deta.training.callbacks import TrainingLength
from tests.training.tiny import detection_module, make_trainer, shapes


@pytest.mark.parametrize(
    ("steps", "fewest", "most", "epochs"), [(3, 1, 50, 2), (1, 3, 50, 3), (9, 1, 1, 1), (1, 2, -1, 2)]
)
def test_a_training_has_whole_epochs_up_to_its_steps_within_its_bounds(
    steps: int, fewest: int, most: int, epochs: int, tmp_path: Path
) -> None:
    data = shapes(tmp_path / "cache")  # two steps in an epoch
    trainer = make_trainer(
        tmp_path / "run",
        max_epochs=most,
        callbacks=[TrainingLength(steps=steps, fewest_epochs=fewest)],
        limit_val_batches=0,
    )
    trainer.fit(detection_module(data), datamodule=data)
    assert (trainer.current_epoch, trainer.global_step) == (epochs, 2 * epochs)


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"callbacks\.length\.steps"):
        TrainingLength(steps=0)
    with pytest.raises(ValueError, match=r"callbacks\.length\.fewest_epochs"):
        TrainingLength(fewest_epochs=0)
