"""Trainings and comparisons of rules from a program: ``deta.train``, ``deta.compare_rules``."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deta.analysis.given_boxes import Arrays, RuleComparison, assign_given
from deta.assign import Assigner
from deta.building.model import Model, load
from deta.building.rules import make_contenders
from deta.cli import continue_run
from deta.commands.launch import TrainLauncher
from deta.console.application import run_application
from deta.console.composing import own_hydra
from deta.console.naming import register_resolvers
from deta.console.quoting import quote_paths, sweeps
from deta.console.terminal import TRACE_VARIABLE
from deta.console.told_words import told_present_words
from deta.runs import preemption
from deta.runs.state import RunState, read_status
from deta.studies.conf import config_dir
from deta.tracking.metrics import read_metrics
from deta.training.checkpoint import find_checkpoint

_INTERRUPTED = 130
"""Exit code of a training that Ctrl-C has stopped."""


@dataclass(frozen=True)
class Run:
    """A training in its directory, by whomever it was started.

    Attributes:
        folder: The run directory.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def state(self) -> RunState:
        """Done, running, queued, resumable, failed or missing."""
        return read_status(self.folder).state

    @property
    def history(self) -> list[dict[str, Any]]:
        """All that was logged, row by row; empty before the first."""
        path = self.folder / "metrics.jsonl"
        return read_metrics(path) if path.is_file() else []

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of the latest validation by their names, such as ``AP``; empty before the first."""
        rows = [row for row in self.history if "val/AP" in row]
        latest = rows[-1] if rows else {}
        return {name.removeprefix("val/"): value for name, value in latest.items() if name.startswith("val/")}

    @property
    def best(self) -> Path:
        """The checkpoint with the best AP; the last one where none has been evaluated.

        Raises:
            FileNotFoundError: Nothing has been saved yet.
        """
        return find_checkpoint(self.folder)

    def load(self, **options: Any) -> Model:  # noqa: ANN401 - those of deta.load
        """Its best model, with the options of ``deta.load``."""
        return load(self.folder, **options)

    def resume(self, *words: str) -> "Run":
        """Go on where it was, bit by bit; further words win over those that it was started with."""
        return train(f"ckpt={self.folder}", *words)


def train(*words: str) -> Run:
    """Train as ``deta train`` does with the same words, in this process.

    Args:
        words: Such as ``"experiment=deta_shapes", "trainer.max_epochs=3"``. Classes of the program itself can be named:
            ``criterion.rules.layers.assigner._target_=__main__.MyRule``.

    Returns:
        The finished run; with ``dry_run=true`` or ``cluster=sbatch`` the one that is to be.

    Raises:
        ValueError: A word does not fit, the training needs several processes, or this is not the main thread.
        OSError: A file is missing or cannot be written.
        KeyboardInterrupt: It was stopped; what it has done is saved.
    """
    strange = [word for word in words if not isinstance(word, str)]
    if strange:
        raise ValueError(f"words are texts, one argument each, such as 'trainer.max_epochs=3', got {strange[0]!r:.80}")
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("deta.train runs in the main thread, where signals arrive: start a process for it instead")
    options = [word for word in words if word.startswith("-")]
    if options:
        raise ValueError(
            f"{options[0]} is an option of the command deta train: give words such as trainer.max_epochs=3"
        )
    if sweeps(words):
        raise ValueError("deta.train does one run: start sweeps by the command deta train -m, or call it once for each")
    launcher = _RaisingLauncher()
    with own_hydra(), _kept_process():
        spelt = continue_run(quote_paths(told_present_words(list(words)), is_sweep=False))
        register_resolvers()
        try:
            run_application("train", launcher.run, spelt, config_dir())
            launcher.finish()
        except SystemExit as end:
            if end.code == _INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
    assert launcher.folder is not None
    return Run(launcher.folder)


def compare_rules(
    boxes: Arrays,
    sizes: Arrays,
    rules: Sequence[str | Assigner] | Mapping[str, Assigner] = ("iou", "atss", "fcos"),
    *,
    candidates: Arrays | None = None,
    scores: Arrays | None = None,
    shared_iou: float | None = None,
    seed: int = 0,
) -> RuleComparison:
    """What rules of assignment do to objects, without training: the laboratory of ``deta data assign`` on arrays.

    Args:
        boxes: ``[T, 4]`` ``xyxy`` in pixels of the objects of an image, or a list of such arrays, one for each image.
        sizes: ``(height, width)`` in pixels of the image as the network sees it, or a list of them.
        rules: Names as ``deta data assign assigner=[...]`` has them, or rules; a mapping gives rules their names.
        candidates: ``[N, 4]`` ``xyxy`` in pixels of what every rule chooses from, or a list; None gives every named
            rule those of its publication, and any other the anchors of DETA.
        scores: ``[N]`` in 0..1 of the candidates, or a list, for rules that look at predictions; None is 0.5 for all.
        shared_iou: IoU with a second object from which on a positive box counts as shared, 0..1; None takes ``tau`` of
            the rule, or 0.5.
        seed: Of rules that draw at random.

    Returns:
        Numbers by rule and object size, and which candidate got which object; ``print`` shows a table.

    Raises:
        ValueError: Shapes do not fit, or a rule is unknown or needs candidates of its own.
    """
    contenders = make_contenders(rules, needs_candidates=candidates is None)
    return assign_given(contenders, boxes, sizes, candidates, scores, shared_iou=shared_iou, seed=seed)


class _RaisingLauncher(TrainLauncher):
    """Lets the program have the folder of the run, and the error of one that does not start."""

    folder: Path | None = None

    def run(self, cfg: DictConfig) -> None:
        """Train, and keep where."""
        self.folder = Path(HydraConfig.get().runtime.output_dir)
        super().run(cfg)

    def _refuse(self, error: Exception, *, is_sweep: bool) -> None:
        raise error


@contextmanager
def _kept_process() -> Iterator[None]:
    """Errors come as exceptions meanwhile; then logging, warnings and signals of the program are what they were."""
    root, form = logging.getLogger(), warnings.formatwarning
    handlers, level, trace = list(root.handlers), root.level, os.environ.get(TRACE_VARIABLE)
    os.environ[TRACE_VARIABLE] = "1"
    try:
        with warnings.catch_warnings():
            yield
    finally:
        if trace is None:
            os.environ.pop(TRACE_VARIABLE, None)
        else:
            os.environ[TRACE_VARIABLE] = trace
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:], warnings.formatwarning = handlers, form
        root.setLevel(level)
        preemption.forget()
