"""Kill trainings at random moments, continue them, and compare each with one that was never killed, bit by bit.

    python scripts/resume/kill_and_continue.py --times 20 [--workers 0 2] [overrides of deta train]

Every training is a process of its own, killed by SIGKILL between its claim of the run directory and its end; the
processes are forked from this one, so that the packages are imported once. Exit status 1 if a pair differs.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deta.cli import main as deta
from deta.engine.runs import DONE, RUNNING, is_done
from deta.engine.tracking import CLOCK_KEYS, read_metrics

TRAINING = (
    "experiment=deta_shapes", "model.hidden_dim=32", "model.backbone.channels=[16,16,32]",
    "model.backbone.num_blocks=1", "model.backbone.stem_channels=16", "model.encoder.num_layers=1",
    "model.encoder.ffn_dim=32", "model.decoder.num_layers=2", "model.decoder.ffn_dim=32",
    "model.proposals.num_queries=20", "data.num_train=24", "data.num_val=8", "data.batch_size=4",
    "data.eval_batch_size=2", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=1",
    "schedule.make.milestones=[2]",
    "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false", "callbacks.resume.every_n_steps=2",
    "logger=file", "ckpt=auto",
)  # fmt: skip
"""A few steps in an epoch, a validation after each, the last epochs with another learning rate."""
COMPARED = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "deta_resume")
"""Parts of a checkpoint; the others hold paths."""
SECONDS_OF_PATIENCE = 600.0


def main() -> None:
    """Kill, continue, compare; print a line for each and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="trainings that are killed")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="data.num_workers, taken in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=Path("runs/kill_and_continue"), help="a new or own folder")
    parser.add_argument("overrides", nargs="*", help="further words for deta train")
    options = parser.parse_args()
    shutil.rmtree(options.output, ignore_errors=True)
    import_module("deta.commands.train")
    whole = options.output / "whole"
    seconds = _train(whole, [f"data.num_workers={options.workers[0]}", *options.overrides])
    print(f"uninterrupted: {seconds:.1f} s", flush=True)
    moments = random.Random(options.seed)
    num_same = 0
    for k in range(options.times):
        folder = options.output / str(k)
        workers = options.workers[k % len(options.workers)]
        words = [f"data.num_workers={workers}", *options.overrides]
        moment = _kill(folder, words, moments, seconds)
        rows = len(read_metrics(folder / "metrics.jsonl")) if (folder / "metrics.jsonl").exists() else 0
        _train(folder, words)
        different = differences(whole, folder)
        num_same += not different
        verdict = f"differs in {', '.join(different)}" if different else "identical"
        print(f"{k}: {workers} workers, killed after {moment:.2f} s and {rows} rows, continued: {verdict}", flush=True)
    print(f"{num_same} of {options.times} identical")
    sys.exit(num_same != options.times)


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


def _train(folder: Path, words: Sequence[str]) -> float:
    """Train to the end; seconds from the claim of the directory."""
    process = _start(folder, words)
    began = _wait_for(folder / RUNNING, process)
    _, status = os.waitpid(process, 0)
    if status or not is_done(folder):
        raise RuntimeError(f"{folder}: the training failed, see {folder}/output.txt")
    return time.monotonic() - began


def _kill(folder: Path, words: Sequence[str], moments: random.Random, seconds: float) -> float:
    """Start a training and kill it at a random moment before its end; that moment in seconds."""
    while True:
        moment = moments.uniform(0, seconds)
        process = _start(folder, words)
        began = _wait_for(folder / RUNNING, process)
        while time.monotonic() - began < moment and not (folder / DONE).exists():
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        if not is_done(folder):
            return moment
        shutil.rmtree(folder)  # it was faster than the first one


def _start(folder: Path, words: Sequence[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNNING).unlink(missing_ok=True)  # of the process that was killed
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["deta", "train", *TRAINING, *words, f"hydra.run.dir={folder}"]
        status = 1
        try:
            deta()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(status)
    return process


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
