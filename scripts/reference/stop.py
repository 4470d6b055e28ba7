"""``deta train`` that receives SIGTERM after a step: ``python -m scripts.reference.stop STEP WORDS``."""

import os
import signal
import sys
from typing import Any
from unittest import mock

import lightning.pytorch as pl

from deta.cli import main
from deta.engine.callbacks import ResumeCheckpoint


def stop_after(step: int) -> None:
    """Train with the words of the command line until it has saved and left."""
    ends = ResumeCheckpoint.on_train_batch_end

    def signalled(callback: ResumeCheckpoint, trainer: pl.Trainer, *arguments: Any) -> None:  # noqa: ANN401
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        ends(callback, trainer, *arguments)

    with mock.patch.object(ResumeCheckpoint, "on_train_batch_end", signalled):
        main()


if __name__ == "__main__":
    number = int(sys.argv.pop(1))
    stop_after(number)
