"""Signals to the processes of a training: parent, reading processes, ranks, and all at once."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import pytest
from torch import Tensor

from deta.models.postprocess import TopK
from deta.runs.state import RunState, read_status
from deta.structures import Detections, Prediction
from scripts.resume.kill_and_continue import differences
from tests.commands.running import QUIET, SMALL_MODEL

TRAINING = (
    "experiment=deta_shapes",
    *SMALL_MODEL,
    *QUIET,
    "data.num_train=32",
    "data.num_val=6",
    "data.batch_size=2",
    "data.eval_batch_size=1",
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=1",
    "callbacks.resume.every_n_steps=4",
)
"""Sixteen steps in an epoch on one rank, with the default number of reading processes."""
RANKS = ("trainer=ddp", "trainer.devices=2")
SECONDS_OF_PATIENCE = 300.0


class SecondRankFails(pl.Callback):
    """Stands for a bad image that one rank has."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Fail after the third step."""
        if trainer.global_rank == 1 and trainer.global_step == 3:
            raise ValueError("images/7.jpg is damaged")


class SecondRankHangs(TopK):
    """Selects as always, but the first call on the second rank never ends, in one step of its main thread."""

    def __init__(self, mark: str) -> None:
        super().__init__(max_detections=7)
        self._mark = Path(mark)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Select, unless it is the one that hangs."""
        if os.environ.get("LOCAL_RANK") == "1" and not self._mark.exists():
            self._mark.touch()
            ctypes.CDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)
        return super().__call__(prediction, original_sizes)


@dataclass(frozen=True)
class Tree:
    """The processes of a training.

    Attributes:
        ranks: In their order.
        readers: Of each rank.
    """

    ranks: Sequence[int]
    readers: Sequence[Sequence[int]]

    @property
    def all(self) -> list[int]:
        """Every process."""
        return [*self.ranks, *(reader for readers in self.readers for reader in readers)]


@contextmanager
def training(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A training in a process group of its own; its output is in ``output.txt``. Nothing of it is left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "deta", "train", *TRAINING, *words, f"hydra.run.dir={folder}"]
    with (folder / "output.txt").open("ab") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGKILL, signal.SIGCONT):
            for pid in of_session(process.pid):
                os.kill(pid, number)
        process.wait()


def of_session(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def tree(process: subprocess.Popen[bytes]) -> Tree:
    """The first rank is the process that was started; ranks know their number, readers have that of their parent."""
    members = of_session(process.pid)
    children = [pid for pid in members if parent_of(pid) == process.pid]
    others = [pid for pid in children if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    ranks = [process.pid, *others]
    readers = [[pid for pid in members if parent_of(pid) == rank and pid not in ranks] for rank in ranks]
    return Tree(ranks, readers)


def wait_for_steps(folder: Path, process: subprocess.Popen[bytes], number: int) -> None:
    """Until so many steps are logged."""
    end = time.monotonic() + SECONDS_OF_PATIENCE
    path = folder / "metrics.jsonl"
    while not path.exists() or path.read_bytes().count(b"train/loss") < number:
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < end, (folder / "output.txt").read_text()
        time.sleep(0.02)


def wait_until_all_are_gone(process: subprocess.Popen[bytes]) -> None:
    """Other ranks may end after the first, and readers of a killed rank after it; nothing stays."""
    end = time.monotonic() + 30
    while of_session(process.pid):
        assert time.monotonic() < end
        time.sleep(0.1)


def finish(folder: Path, *words: str) -> None:
    """Train to the end, or on to it."""
    with training(folder, *words, "ckpt=auto") as process:
        assert process.wait(SECONDS_OF_PATIENCE) == 0, (folder / "output.txt").read_text()
    assert read_status(folder).state == RunState.DONE


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training whose whole group was told to stop while processes read; its output names what was imported."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPROFILEIMPORTTIME", "1")
        with training(folder, "trainer.max_epochs=1000") as process:
            wait_for_steps(folder, process, 3)
            assert len(tree(process).readers[0]) >= 2
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(SECONDS_OF_PATIENCE) == 128 + signal.SIGTERM, (folder / "output.txt").read_text()
            wait_until_all_are_gone(process)
    return folder


def test_a_signal_to_the_whole_group_saves_while_processes_read(stopped: Path) -> None:
    assert read_status(stopped).state == RunState.RESUMABLE
    assert "stopped by SIGTERM after step" in (stopped / "output.txt").read_text()
    assert "DataLoader worker" not in (stopped / "output.txt").read_text()


def test_without_weights_and_biases_its_package_is_not_imported(stopped: Path) -> None:
    imported = set(re.findall(r"^import time:.* (\S+)$", (stopped / "output.txt").read_text(), re.MULTILINE))
    assert "deta.tracking.wandb" in imported
    assert "wandb" not in imported


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Trainings that nothing stopped, by the number of their ranks."""
    folders = {number: tmp_path_factory.mktemp(f"whole{number}") for number in (1, 2)}
    for number, folder in folders.items():
        finish(folder, "trainer.max_epochs=3", *(RANKS if number > 1 else ()))
    return folders


ALONE: dict[str, Callable[[Tree], Sequence[int]]] = {
    "all": lambda processes: processes.all,
    "parent": lambda processes: processes.ranks,
    "readers": lambda processes: processes.readers[0],
    "parent and one reader": lambda processes: [processes.ranks[0], processes.readers[0][0]],
}
TOGETHER: dict[str, Callable[[Tree], Sequence[int]]] = {
    "all": lambda processes: processes.all,
    "both ranks": lambda processes: processes.ranks,
    "the first": lambda processes: processes.ranks[:1],
    "the second": lambda processes: processes.ranks[1:],
    "the second and its readers": lambda processes: [processes.ranks[1], *processes.readers[1]],
    "the first and the readers of the second": lambda processes: [processes.ranks[0], *processes.readers[1]],
    "all readers": lambda processes: [reader for readers in processes.readers for reader in readers],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_ranks", "name"), [*((1, name) for name in ALONE), *((2, name) for name in TOGETHER)], ids=str
)
def test_whoever_is_signalled_the_run_goes_on_exactly(
    wholes: dict[int, Path], tmp_path: Path, num_ranks: int, name: str
) -> None:
    words = ("trainer.max_epochs=3", *(RANKS if num_ranks > 1 else ()))
    choose = (ALONE if num_ranks == 1 else TOGETHER)[name]
    with training(tmp_path, *words) as process:
        wait_for_steps(tmp_path, process, 5)
        processes = tree(process)
        assert len(processes.ranks) == num_ranks
        for pid in choose(processes):
            os.kill(pid, signal.SIGTERM)
        code = process.wait(SECONDS_OF_PATIENCE)
        wait_until_all_are_gone(process)
    is_stopped = name not in ("readers", "all readers")
    assert code == (128 + signal.SIGTERM if is_stopped else 0), (tmp_path / "output.txt").read_text()
    assert read_status(tmp_path).state == (RunState.RESUMABLE if is_stopped else RunState.DONE)
    finish(tmp_path, *words)
    assert differences(wholes[num_ranks], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_rank_leaves_where_the_other_one_is_frozen(wholes: dict[int, Path], tmp_path: Path, frozen: int) -> None:
    words = ("trainer.max_epochs=3", *RANKS, "callbacks.resume.seconds_to_leave=3")
    with training(tmp_path, *words) as process:
        wait_for_steps(tmp_path, process, 9)
        ranks = tree(process).ranks
        os.kill(ranks[frozen], signal.SIGSTOP)
        time.sleep(1)
        os.kill(ranks[1 - frozen], signal.SIGTERM)
        end = time.monotonic() + 25
        while ranks[1 - frozen] in of_session(process.pid):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert "nothing moves any more" in (tmp_path / "output.txt").read_text()
        if frozen == 1:
            assert process.wait() == 128 + signal.SIGTERM
            wait_until_all_are_gone(process)
    assert read_status(tmp_path).state == RunState.RESUMABLE
    finish(tmp_path, *words)
    assert differences(wholes[2], tmp_path) == []


@pytest.mark.slow
def test_a_rank_leaves_an_evaluation_after_the_training_where_the_other_one_hangs(tmp_path: Path) -> None:
    run, mark = tmp_path / "run", tmp_path / "mark"
    hanging = f"+evaluations.hanging={{_target_: {__name__}.SecondRankHangs, mark: '{mark}'}}"
    words = ("trainer.max_epochs=1", *RANKS, "callbacks.resume.seconds_to_leave=3", hanging)
    with training(run, *words) as process:
        end = time.monotonic() + SECONDS_OF_PATIENCE
        while not mark.exists():
            assert process.poll() is None, (run / "output.txt").read_text()
            assert time.monotonic() < end, (run / "output.txt").read_text()
            time.sleep(0.1)
        time.sleep(2)  # the first rank waits for the second one by now
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(25) == 128 + signal.SIGTERM, (run / "output.txt").read_text()
        wait_until_all_are_gone(process)
    assert "nothing moves any more" in (run / "output.txt").read_text()
    assert read_status(run).state == RunState.RESUMABLE
    rows = (run / "metrics.jsonl").read_text()
    finish(run, *words)
    assert (run / "evaluations" / "hanging" / "metrics.json").is_file()
    assert (run / "metrics.jsonl").read_text() == rows


@pytest.mark.slow
def test_the_reason_on_record_is_that_of_the_rank_that_failed(tmp_path: Path) -> None:
    fault = "+callbacks.fault._target_=tests.commands.test_signals.SecondRankFails"
    with training(tmp_path, "trainer.max_epochs=2", *RANKS, fault) as process:
        assert process.wait(SECONDS_OF_PATIENCE) != 0
    status = read_status(tmp_path)
    assert (status.state, status.message) == (RunState.FAILED, "rank 1: images/7.jpg is damaged")
