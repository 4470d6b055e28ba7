"""A run that dies anywhere and is continued ends as if it had never died."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from deta.runs import preemption
from deta.runs.preemption import StoppedRun
from deta.tracking.metrics import read_metrics
from deta.training.callbacks import (
    AssignmentInstability,
    AssignmentStatistics,
    BestCheckpoint,
    ResumeCheckpoint,
    WeightAveraging,
)
from deta.training.checkpoint import AtomicCheckpointIO, find_resumable, read_training
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
STEPS_PER_EPOCH = 4
MAX_EPOCHS = 3
SETTINGS: tuple[dict[str, Any], ...] = (
    {"num_workers": 2},
    {"is_averaged": True},
    {"accumulate_grad_batches": 2},
    {"every_n_steps": 3},
    {"check_val_every_n_epoch": 2},
    {"val_check_interval": 0.5},
)
"""Beside those of ``train``, by themselves."""
HOOKS = (
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
)


class Death(BaseException):
    """The process is gone."""


class Reaper(pl.Callback):
    """Counts every call of every hook and strikes at a chosen one."""

    def __init__(self, strike_at: int | None = None, signal_number: int | None = None) -> None:
        self.num_calls = 0
        self._strike_at = strike_at
        self._signal = signal_number

    def count(self) -> None:
        """Strike or pass."""
        self.num_calls += 1
        if self.num_calls - 1 == self._strike_at:
            if self._signal is None:
                raise Death
            os.kill(os.getpid(), self._signal)


def _counting(name: str) -> Any:  # noqa: ANN401
    def hook(self: Reaper, *_: object, **__: object) -> None:
        self.count()

    hook.__name__ = name
    return hook


for _name in HOOKS:
    setattr(Reaper, _name, _counting(_name))


class LastReaper(Reaper, pl.callbacks.Checkpoint):
    """Strikes after all other callbacks, those that save included."""


class Look(pl.callbacks.Checkpoint):
    """Draws a random number, notes PyTorch's random state when the first step begins, and dies."""

    def on_fit_start(self, *_: object) -> None:
        torch.rand(1)

    def on_train_batch_start(self, *_: object) -> None:
        self.state = torch.get_rng_state()
        raise Death


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    yield
    preemption.forget()


def train(
    cache: Path,
    folder: Path,
    reaper: pl.Callback | None = None,
    *,
    num_workers: int = 0,
    **options: Any,  # noqa: ANN401
) -> dict[str, Tensor]:
    """Train or continue; returns the final weights."""
    pl.seed_everything(0, verbose=False)
    data = shapes(cache, num_train=2 * STEPS_PER_EPOCH, num_val=3, num_workers=num_workers)
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    module = detection_module(data, scheduler=schedule, seed=options.pop("seed", 0))
    if options.pop("is_compiled", False):
        torch.compiler.reset()  # another process knows nothing of the sizes that came before
        module.compile_step(True)
    checkpoints = folder / "checkpoints"
    best = BestCheckpoint(
        dirpath=checkpoints, filename="best", monitor="val/loss", save_on_train_epoch_end=False,
        enable_version_counter=False,
    )  # fmt: skip
    resume = ResumeCheckpoint(folder=checkpoints, every_n_steps=options.pop("every_n_steps", 1))
    average = [WeightAveraging(decay=0.9)] if options.pop("is_averaged", False) else []
    measures = [AssignmentStatistics(), AssignmentInstability(num_images=2)]
    callbacks = [*measures, *average, best, resume, *([] if reaper is None else [reaper])]
    settings = {"max_epochs": MAX_EPOCHS, "plugins": [AtomicCheckpointIO()], **options}
    trainer = make_trainer(folder, callbacks=callbacks, **settings)
    path = find_resumable(folder) if any(checkpoints.glob("*.ckpt")) else None
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    return weights(module)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The metrics without their times."""
    return [
        {name: value for name, value in row.items() if name != "time"} for row in read_metrics(folder / "metrics.jsonl")
    ]


def assert_exact(whole: Path, expected: dict[str, Tensor], folder: Path, actual: dict[str, Tensor]) -> None:
    """Weights, record and best checkpoint are those of the uninterrupted run."""
    assert is_same(actual, expected)
    assert rows(folder) == rows(whole)
    best = [torch.load(path / "checkpoints" / "best.ckpt", weights_only=True) for path in (folder, whole)]
    assert best[0]["global_step"] == best[1]["global_step"]
    assert is_same(best[0]["state_dict"], best[1]["state_dict"])


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor], int]:
    """An uninterrupted run: its folder, its weights and the number of its hooks."""
    folder = tmp_path_factory.mktemp("whole")
    reaper = Reaper()
    final = train(cache, folder, reaper)
    preemption.forget()
    assert sum("assign/layers/instability" in row for row in rows(folder)) == MAX_EPOCHS - 1
    return folder, final, reaper.num_calls


def strike(cache: Path, folder: Path, whole: tuple[Path, dict[str, Tensor], int], reaper: Reaper) -> None:
    """Die, continue and compare."""
    with pytest.raises(Death):
        train(cache, folder, reaper)
    assert_exact(whole[0], whole[1], folder, train(cache, folder))
    assert not list(folder.rglob("*.unfinished"))


def test_death_at_some_hooks(cache: Path, tmp_path: Path, whole: tuple[Path, dict[str, Tensor], int]) -> None:
    for kind, strike_at in zip(cycle((Reaper, LastReaper)), range(3, whole[2], 27), strict=False):
        strike(cache, tmp_path / str(strike_at), whole, kind(strike_at))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a compiler that is new
def test_a_compiled_training_goes_on_exactly(cache: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"is_compiled": True, "max_epochs": 2}
    expected = train(cache, tmp_path / "whole", **options)
    preemption.forget()
    with pytest.raises(Death):
        train(cache, tmp_path / "dies", Reaper(9), **options)
    actual = train(cache, tmp_path / "dies", **options)
    assert_exact(tmp_path / "whole", expected, tmp_path / "dies", actual)
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Reaper, LastReaper])
def test_death_at_every_hook(
    cache: Path, tmp_path: Path, whole: tuple[Path, dict[str, Tensor], int], kind: type[Reaper]
) -> None:
    for strike_at in range(whole[2]):
        strike(cache, tmp_path / str(strike_at), whole, kind(strike_at))


@pytest.mark.parametrize(
    ("number", "strike_at"),
    [(signal.SIGUSR1, 8), (signal.SIGUSR2, 21), (signal.SIGTERM, 8), (signal.SIGINT, 21), (signal.SIGTERM, 12)],
)
def test_a_signal_ends_the_training_at_a_safe_point(
    cache: Path, tmp_path: Path, whole: tuple[Path, dict[str, Tensor], int], number: signal.Signals, strike_at: int
) -> None:
    earlier = signal.getsignal(number)
    with pytest.raises(StoppedRun) as stopped:
        train(cache, tmp_path, Reaper(strike_at, number), every_n_steps=1000)
    assert stopped.value.signal == number
    saved = read_training(find_resumable(tmp_path))["global_step"]
    assert stopped.value.saved == saved
    assert (f", of which {saved} are saved" in str(stopped.value)) == (saved != stopped.value.step)
    assert "deta-watchdog" not in [thread.name for thread in threading.enumerate()]  # nothing kills what follows
    preemption.forget()
    assert signal.getsignal(number) == earlier
    assert_exact(whole[0], whole[1], tmp_path, train(cache, tmp_path, every_n_steps=1000))


@pytest.mark.parametrize(
    "steps", [(5,), (4, 8), pytest.param((1,), marks=pytest.mark.slow), pytest.param((3, 6, 7), marks=pytest.mark.slow)]
)
def test_a_training_of_more_steps_is_the_one_that_was_never_ended(
    cache: Path, tmp_path: Path, whole: tuple[Path, dict[str, Tensor], int], steps: tuple[int, ...]
) -> None:
    for max_steps in steps:
        train(cache, tmp_path, max_steps=max_steps)
        assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == max_steps
    assert_exact(whole[0], whole[1], tmp_path, train(cache, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_more_steps_under_other_settings(cache: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    expected = train(cache, tmp_path / "whole", **options)
    for max_steps in range(1, MAX_EPOCHS * STEPS_PER_EPOCH // options.get("accumulate_grad_batches", 1), 3):
        preemption.forget()
        folder = tmp_path / str(max_steps)
        train(cache, folder, max_steps=max_steps, **options)
        assert_exact(tmp_path / "whole", expected, folder, train(cache, folder, **options))


def test_a_run_of_an_earlier_version_that_ended_inside_an_epoch_says_what_is_left_out(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("deta.training.callbacks.resume.ended_inside_epoch", lambda _: False)
        train(cache, tmp_path, max_steps=6)
    train(cache, tmp_path)
    told = "this run ended inside epoch 2, after batch 2: it goes on with the next epoch, and the other batches"
    assert told in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_death_and_signals_under_other_settings(cache: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    counter = Reaper()
    expected = train(cache, tmp_path / "whole", counter, **options)
    for strike_at in range(1, counter.num_calls, 5):
        preemption.forget()
        folder = tmp_path / str(strike_at)
        reaper = LastReaper(strike_at) if strike_at % 2 else LastReaper(strike_at, signal.SIGUSR1)
        with contextlib.suppress(Death, StoppedRun):  # a signal after the last safe point has no effect
            train(cache, folder, reaper, **options)
        preemption.forget()
        assert_exact(tmp_path / "whole", expected, folder, train(cache, folder, **options))


@pytest.fixture(scope="module")
def died(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died in its second epoch; tests change copies of it."""
    folder = tmp_path_factory.mktemp("died")
    with pytest.raises(Death):
        train(cache, folder, Reaper(30))
    preemption.forget()
    return folder


@pytest.mark.parametrize(
    "damage", ["cut", *(pytest.param(name, marks=pytest.mark.gate) for name in ("missing", "folder", "NaN", "shape"))]
)
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    cache: Path,
    tmp_path: Path,
    whole: tuple[Path, dict[str, Tensor], int],
    died: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(died, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    last.unlink()
    if damage == "cut":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "folder":
        last.mkdir()
    elif damage in ("NaN", "shape"):
        last.write_bytes(content)
        saved = torch.load(last, weights_only=True)
        name = "detector.body.encoder.level_embed"
        weight = saved["state_dict"][name]
        saved["state_dict"][name] = weight * torch.nan if damage == "NaN" else weight[:, 1:].clone()
        torch.save(saved, last)
    assert find_resumable(tmp_path) == last.with_name("previous.ckpt")
    assert "previous.ckpt: the one after it is missing or damaged" in caplog.text
    assert_exact(whole[0], whole[1], tmp_path, train(cache, tmp_path))


def test_a_death_at_the_first_save_beside_a_damaged_checkpoint_loses_nothing(
    cache: Path,
    tmp_path: Path,
    whole: tuple[Path, dict[str, Tensor], int],
    died: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(died, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])

    def die(*_: object, **__: object) -> None:
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", die)
        with pytest.raises(Death):
            train(cache, tmp_path)
    assert find_resumable(tmp_path) == last.with_name("previous.ckpt")
    assert_exact(whole[0], whole[1], tmp_path, train(cache, tmp_path))


@pytest.mark.parametrize(("seed", "is_restored"), [(0, True), (1, False)])
def test_random_states_are_restored_unless_the_run_has_another_seed(
    cache: Path, tmp_path: Path, seed: int, is_restored: bool
) -> None:
    with pytest.raises(Death):
        train(cache, tmp_path, Reaper(12))
    (saved,) = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["deta_resume"]["random"]
    look = Look()
    with pytest.raises(Death):
        train(cache, tmp_path, look, seed=seed)
    assert torch.equal(look.state, saved["torch"]) == is_restored


def test_without_any_readable_checkpoint_the_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"no")
    with pytest.raises(ValueError, match=f"{tmp_path}: no checkpoint of this run can be read"):
        find_resumable(tmp_path)


def test_a_save_that_dies_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": 1}, path)

    def die(*_: object) -> None:
        raise Death

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(Death):
        AtomicCheckpointIO().save_checkpoint({"a": 2}, path)
    assert torch.load(path, weights_only=True)["a"] == 1
