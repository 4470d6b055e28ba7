"""Running the ``deta`` command inside the test's process."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest import mock

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from PIL import Image

from deta.cli import main
from deta.drawing import style
from deta.runs import preemption

SMALL_MODEL = (
    "model.body.hidden_dim=32",
    "model.backbone.channels=[16,16,32]",
    "model.backbone.num_blocks=1",
    "model.backbone.stem_channels=16",
    "model.body.encoder.num_layers=1",
    "model.body.encoder.ffn_dim=32",
    "model.body.decoder.num_layers=2",
    "model.body.decoder.ffn_dim=32",
    "model.body.source.num_queries=20",
)
"""Overrides that make ``deta_small`` tiny.

No fewer than 16 channels: with PyTorch 2.15 on a CPU the weight gradient of a 1x1 convolution of stride 2 with fewer
than 16 input channels in channels-last layout writes outside its memory.
"""
FEW_IMAGES = ("data.num_train=8", "data.num_val=4", "data.batch_size=4", "data.eval_batch_size=2", "data.num_workers=0")
"""Overrides of ``data=shapes``: two steps in an epoch."""
QUIET = ("logger=file", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false")
"""Overrides that write less."""
TINY_TRAINING = (
    "experiment=deta_shapes",
    *SMALL_MODEL,
    *FEW_IMAGES,
    *QUIET,
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
)
"""A training that takes a second or two."""


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        code: Its exit code.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    code: int
    out: str
    err: str


def deta(*words: str, with_trace: bool = False, is_painted: bool = False) -> Outcome:
    """Run ``deta`` with these words; leaves argv, environment, Hydra and logging as they were.

    Args:
        words: The command line after ``deta``.
        with_trace: Ask for stack traces; then an error of the user leaves this function as an exception.
        is_painted: Paint the charts of a training or an evaluation, which are made but left blank otherwise: painting
            takes as long as the rest, and charts are tests of their own.
    """
    is_blank = words[:1] in (("train",), ("eval",)) and not is_painted
    out, err = StringIO(), StringIO()
    code: object = 0
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    with (
        _kept_logging(),
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", ["deta", *words]),
        mock.patch.object(style, "save_figure", _save_blank if is_blank else style.save_figure),
    ):
        os.environ["HYDRA_FULL_ERROR"] = "1" if with_trace else "0"
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as exit_request:
                code = exit_request.code or 0
            finally:
                preemption.forget()
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def succeed(*words: str, is_painted: bool = False) -> Outcome:
    """Run ``deta``; fails with its messages unless it succeeds."""
    outcome = deta(*words, is_painted=is_painted)
    assert outcome.code == 0, outcome.out + outcome.err
    return outcome


def fail(*words: str) -> str:
    """Run ``deta``; returns its message, which must be the reason alone, and fails if it succeeds."""
    outcome = deta(*words)
    assert outcome.code != 0, outcome.out
    assert "Traceback" not in outcome.err
    return outcome.err


def _save_blank(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


@contextmanager
def _kept_logging() -> Iterator[None]:
    """Hydra sets up the root logger for the stream of this moment."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:], root.level = handlers, level
