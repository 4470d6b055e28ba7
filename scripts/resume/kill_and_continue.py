"""Kill trainings, continue them, and compare each with one that was never killed, bit by bit.

    python scripts/resume/kill_and_continue.py --random 40 --group 20 --kill-writes --full-writes [overrides]
    python scripts/resume/kill_and_continue.py --tmpfs 60k 300k 1m [overrides]      # as root

``--random``: SIGKILL at a random moment between the claim of the run directory and the end; every third run is killed
again while it resumes. ``--group``: SIGTERM to the process group, reading processes included, after the first step.
``--kill-writes``: SIGKILL before each file of the run is opened for writing, renamed or removed, and after it was
opened and one byte written. ``--full-writes``: there is no space left at each of these. ``--tmpfs``: a disk of that
size, enlarged for the continuation. Every training is a process of its own, forked from this one, so that the packages
are imported once. It prints a line for each and a table; exit status 1 if a run differs, does not go on, or was not
saved by SIGTERM.
"""

import argparse
import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deta.cli import main as deta
from deta.runs.claims import RUNNING
from deta.runs.state import DONE, is_done
from deta.tracking.metrics import CLOCK_KEYS, read_metrics

TRAINING = (
    "experiment=deta_shapes", "model.body.hidden_dim=32", "model.backbone.channels=[16,16,32]",
    "model.backbone.num_blocks=1", "model.backbone.stem_channels=16", "model.body.encoder.num_layers=1",
    "model.body.encoder.ffn_dim=32", "model.body.decoder.num_layers=2", "model.body.decoder.ffn_dim=32",
    "model.body.source.num_queries=20", "data.num_train=24", "data.num_val=8", "data.batch_size=4",
    "data.eval_batch_size=2", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=1",
    "schedule.make.milestones=[2]",
    "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false", "callbacks.resume.every_n_steps=2",
    "logger=file", "ckpt=auto",
)  # fmt: skip
"""A few steps in an epoch, a validation after each, the last epochs with another learning rate."""
COMPARED = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "deta_resume")
"""Parts of a checkpoint; the others hold paths."""
SECONDS_OF_PATIENCE = 600.0


@dataclass(frozen=True)
class Fault:
    """What happens at one write.

    Attributes:
        kind: ``kill`` (before it), ``half`` (after the first byte) or ``full`` (no space left on the disk).
        write: Event and file, see ``Writes``.
        occurrence: Which one of this event and file, from 1.
    """

    kind: str
    write: str
    occurrence: int


class Writes:
    """Counts what a process does to the files of a folder, as an audit hook of Python, and strikes at one of it.

    Args:
        folder: The run directory.
        fault: Where to strike; None only counts.
    """

    def __init__(self, folder: Path, fault: Fault | None) -> None:
        self._folder = folder.resolve()
        self.fault = fault
        self._process = 0
        self.counts: Counter[str] = Counter()

    def watch(self) -> None:
        """Begin, in this process alone."""
        self._process = os.getpid()
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called before every event."""
        if event not in ("open", "os.rename", "os.remove") or os.getpid() != self._process:
            return
        name = arguments[1] if event == "os.rename" else arguments[0]
        is_write = event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not is_write or not isinstance(name, (str, Path)):
            return
        path = Path(name).absolute()
        if not path.is_relative_to(self._folder) or path.name == "output.txt":
            return
        write = f"{event.removeprefix('os.')} {re.sub('[0-9]{2,}', 'N', str(path.relative_to(self._folder)))}"
        self.counts[write] += 1
        fault = self.fault
        if fault is not None and (write, self.counts[write]) == (fault.write, fault.occurrence):
            self._process = 0  # once
            _strike(fault.kind, path, arguments[2] if event == "open" else None)


def _strike(kind: str, path: Path, flags: int | None) -> None:
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if kind == "half" and flags is not None:
        os.write(os.open(path, flags, 0o666), b"{")
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Trial:
    """A training that something has stopped, and its continuation.

    Attributes:
        kind: What stopped it.
        where: Moment or file.
        verdict: ``identical``, or what is wrong.
    """

    kind: str
    where: str
    verdict: str


class Trials:
    """Runs them and keeps what became of them.

    Args:
        output: Where the run directories go.
        words: Overrides of all trainings.
        workers: ``data.num_workers``, taken in turn.
        seed: Of the moments.
    """

    def __init__(self, output: Path, words: Sequence[str], workers: Sequence[int], seed: int) -> None:
        self._output = output
        self._words = list(words)
        self._workers = list(workers)
        self._moments = random.Random(seed)
        self.done: list[Trial] = []
        self.whole = output / "whole"
        begin = time.monotonic()
        self._finish(self.whole, self.words(0))
        self.seconds = time.monotonic() - begin

    def words(self, number: int, *, least: int = 0) -> list[str]:
        """Overrides of a trial with at least so many reading processes."""
        workers = max(least, self._workers[number % len(self._workers)])
        return [f"data.num_workers={workers}", *self._words]

    def kill_at_random(self, number: int) -> None:
        """SIGKILL; every third run twice."""
        folder, words = self._output / f"random{number}", self.words(number)
        moments = [self._kill(folder, words) for _ in range(2 if number % 3 == 2 else 1)]
        self._conclude("SIGKILL", " and ".join(f"{moment:.2f} s" for moment in moments), folder, words)

    def end_group(self, number: int) -> None:
        """SIGTERM to all processes of a training with readers."""
        folder, words = self._output / f"group{number}", self.words(number, least=1)
        process = _start(folder, words)
        metrics = folder / "metrics.jsonl"
        for _ in _patience():
            if metrics.exists() and b"train/loss" in metrics.read_bytes():
                break
        moment = self._moments.uniform(0, self.seconds / 2)
        time.sleep(moment)
        os.killpg(process, signal.SIGTERM)
        code = _wait(process)
        is_kept = code == 128 + signal.SIGTERM or is_done(folder)
        where = f"{moment:.2f} s after the first step, exit {code}"
        self._conclude("SIGTERM", where, folder, words, wrong="" if is_kept else f"exit {code}")

    def strike_writes(self, kinds: Sequence[str]) -> None:
        """Each fault at the first, second and last write of each file."""
        folder = self._output / "counted"
        self._finish(folder, self.words(0), Writes(folder, None))
        counts: Mapping[str, int] = json.loads((folder / "writes.json").read_text())
        for write, count in counts.items():
            for occurrence in sorted({1, min(2, count), count}):
                for kind in kinds:
                    if kind != "half" or write.startswith("open"):
                        self._strike_write(Fault(kind, write, occurrence), len(self.done))

    def _strike_write(self, fault: Fault, number: int) -> None:
        folder, words = self._output / f"write{number}", self.words(0)
        folder.mkdir(parents=True)
        code = _wait(_start(folder, words, Writes(folder, fault)))
        where = f"{fault.write} ({fault.occurrence}), exit {code}"
        self._conclude(fault.kind, where, folder, words)

    def fill_disk(self, size: str) -> None:
        """A small file system of its own."""
        folder, words = self._output / f"tmpfs{size}" / "run", self.words(0)
        folder.parent.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder.parent)]
        subprocess.run(mount, check=True)
        try:
            code = _wait(_start(folder, words, output=folder.parent.with_suffix(".txt")))
            subprocess.run(["mount", "-o", "remount,size=500m", str(folder.parent)], check=True)
            self._conclude("tmpfs", f"{size}, exit {code}", folder, words)
        finally:
            subprocess.run(["umount", str(folder.parent)], check=True)

    def _kill(self, folder: Path, words: Sequence[str]) -> float:
        """Start or continue and kill at a random moment; that moment in seconds from the claim."""
        while True:
            moment = self._moments.uniform(0, self.seconds)
            (folder / RUNNING).unlink(missing_ok=True)  # of the process that was killed
            process = _start(folder, words)
            began = _wait_for(folder / RUNNING, process)
            while time.monotonic() - began < moment and not (folder / DONE).exists():
                time.sleep(0.002)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            if not is_done(folder):
                return moment
            shutil.rmtree(folder)  # it was faster than the first one

    def _conclude(self, kind: str, where: str, folder: Path, words: Sequence[str], *, wrong: str = "") -> None:
        """Continue to the end and compare."""
        try:
            self._finish(folder, words)
            found = differences(self.whole, folder)
            verdict = wrong or (f"differs in {', '.join(found)}" if found else "identical")
        except RuntimeError as error:
            verdict = str(error)
        self.done.append(Trial(kind, where, verdict))
        print(f"{kind:<8} {where}: {verdict}", flush=True)

    def _finish(self, folder: Path, words: Sequence[str], writes: Writes | None = None) -> None:
        code = _wait(_start(folder, words, writes))
        if code or not is_done(folder):
            raise RuntimeError(f"does not go on (exit {code}), see {folder}/output.txt")


def main() -> None:
    """Do what is asked for; print a line for each trial and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=0, help="trainings that SIGKILL ends at a random moment")
    parser.add_argument("--group", type=int, default=0, help="trainings that SIGTERM to the process group ends")
    parser.add_argument("--kill-writes", action="store_true", help="SIGKILL at the writes of every file")
    parser.add_argument("--full-writes", action="store_true", help="no space left at the writes of every file")
    parser.add_argument("--tmpfs", nargs="+", default=[], help="sizes of disks that fill up, such as 300k")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="data.num_workers, taken in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=Path("runs/kill_and_continue"), help="a new or own folder")
    parser.add_argument("overrides", nargs="*", help="further words for deta train")
    options = parser.parse_args()
    shutil.rmtree(options.output, ignore_errors=True)
    import_module("deta.commands.train")
    own = tempfile.TemporaryDirectory(prefix="deta-kills-", ignore_cleanup_errors=True)
    with own as folder:  # for what is killed, which removes nothing
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        trials = _try(options)
    print(f"\n{'stopped by':<12} {'trials':>6} {'identical':>9}")
    for kind in dict.fromkeys(trial.kind for trial in trials):
        verdicts = [trial.verdict == "identical" for trial in trials if trial.kind == kind]
        print(f"{kind:<12} {len(verdicts):>6} {sum(verdicts):>9}")
    num_same = sum(trial.verdict == "identical" for trial in trials)
    print(f"{num_same} of {len(trials)} identical")
    sys.exit(num_same != len(trials))


def _try(options: argparse.Namespace) -> list[Trial]:
    trials = Trials(options.output, options.overrides, options.workers, options.seed)
    print(f"uninterrupted: {trials.seconds:.1f} s", flush=True)
    for number in range(options.random):
        trials.kill_at_random(number)
    for number in range(options.group):
        trials.end_group(number)
    kinds = [*(["kill", "half"] if options.kill_writes else []), *(["full"] if options.full_writes else [])]
    if kinds:
        trials.strike_writes(kinds)
    for size in options.tmpfs:
        trials.fill_disk(size)
    return trials.done


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two finished runs: metrics, final scores, parts of the last and the best checkpoint."""
    names = [] if _rows(first) == _rows(second) else ["metrics.jsonl"]
    names += [] if (first / DONE).read_bytes() == (second / DONE).read_bytes() else [DONE]
    for name in ("last", "best"):
        contents = [
            torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True, map_location="cpu")
            for run in (first, second)
        ]
        for key in COMPARED:
            values = [content[key] for content in contents]
            if key == "deta_resume":  # the place in the metrics is counted in bytes, and times have no fixed length
                values = [value["random"] for value in values]
            if not _is_same(*values):
                names.append(f"{name}.ckpt: {key}")
    return names


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in CLOCK_KEYS}
        for row in read_metrics(folder / "metrics.jsonl")
    ]


def _is_same(first: object, second: object) -> bool:
    """Whether two nested values agree in every bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_is_same(first[key], second[key]) for key in first)
    if isinstance(first, Sequence) and isinstance(second, Sequence) and not isinstance(first, str):
        return len(first) == len(second) and all(map(_is_same, first, second))
    return type(first) is type(second) and first == second


def _start(folder: Path, words: Sequence[str], writes: Writes | None = None, *, output: Path | None = None) -> int:
    """Start or continue a training in a process group of its own; ``writes`` watches it."""
    output = output or folder / "output.txt"
    output.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv = ["deta", "train", *TRAINING, *words, f"hydra.run.dir={folder}"]
        os._exit(_run(deta, folder, writes))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(process, process)  # whoever of the two comes first
    return process


def _run(command: Callable[[], None], folder: Path, writes: Writes | None) -> int:
    """Run it in the forked process; its exit code."""
    if writes is not None:
        writes.watch()
    status = 1
    try:
        command()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    if writes is not None and writes.fault is None:
        (folder / "writes.json").write_text(json.dumps(writes.counts))
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _wait(process: int) -> int:
    """The exit code of a process; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _wait_for(path: Path, process: int) -> float:
    """When a file of a living process has come."""
    for _ in _patience():
        if path.exists():
            return time.monotonic()
        if os.waitpid(process, os.WNOHANG)[0]:
            break
    raise RuntimeError(f"{path} did not come, see {path.parent}/output.txt")


def _patience() -> Iterator[None]:
    end = time.monotonic() + SECONDS_OF_PATIENCE
    while time.monotonic() < end:
        yield
        time.sleep(0.002)


if __name__ == "__main__":
    main()
