"""Kill a training as it changes each one of its files, continue it, and compare it with one that was not killed.

    python -m scripts.resume.kill_at_changes --output runs/kill_at_changes

A change is the opening of a file for writing (the process dies after that, with the file empty or cut), a rename, a
link, a removal, a folder made. Every kind of change of every file is struck once, at its first occurrence.
"""

import argparse
import os
import re
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path

from scripts.resume.kill_and_continue import TRAINING, differences

from deta.cli import main as deta
from deta.engine.runs import is_done

_CHANGES = ("os.rename", "os.link", "os.remove", "os.truncate", "os.mkdir")
_NUMBER = re.compile(r"\.\d{2,}")  # of a process


def main() -> None:
    """Strike at every change; print a line for each and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/kill_at_changes"), help="a new or own folder")
    parser.add_argument("--only", default="", help="regular expression that the changes to strike at contain")
    parser.add_argument("overrides", nargs="*", help="further words for deta train")
    options = parser.parse_args()
    shutil.rmtree(options.output, ignore_errors=True)
    import_module("deta.commands.train")
    output = options.output.resolve()
    whole, log = output / "whole", output / "changes.txt"
    words = ["data.num_workers=0", *options.overrides]
    if train(whole, words, log) != 0:
        raise RuntimeError(f"the training failed, see {whole}/output.txt")
    changes = [change for change in dict.fromkeys(log.read_text().splitlines()) if re.search(options.only, change)]
    num_same = 0
    for number, change in enumerate(changes):
        run = output / str(number)
        died = train(run, words, log, change) == -signal.SIGKILL
        status = train(run, words, log)
        different = differences(whole, run) if status == 0 and is_done(run) else [f"exit {status}"]
        different += [] if died else ["was not struck"]
        different += [path.name for path in run.rglob("*.unfinished")]
        num_same += not different
        print(f"{change}: {f'differs in {different}' if different else 'identical'}", flush=True)
        if not different:
            shutil.rmtree(run)
    print(f"{num_same} of {len(changes)} identical")
    sys.exit(num_same != len(changes))


def train(folder: Path, words: list[str], log: Path, change: str | None = None) -> int:
    """Train in a process of its own that notes its changes and dies at one of them; its exit code or minus a signal."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["deta", "train", *TRAINING, *words, f"hydra.run.dir={folder}"]
    _watch(folder, log, change)
    status = 1
    try:
        deta()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def _watch(folder: Path, log: Path, change: str | None) -> None:
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    is_open = False

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal is_open
        if is_open:
            is_open = False  # the kill is an event, too
            os.kill(os.getpid(), signal.SIGKILL)
        is_written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not is_written and event not in _CHANGES:
            return
        path = str(arguments[1] if event in ("os.rename", "os.link") else arguments[0])
        if not path.startswith(str(folder)):
            return
        here = f"{event} {_NUMBER.sub('', os.path.relpath(path, folder))}"
        os.write(notes, f"{here}\n".encode())
        if here == change and is_written:
            is_open = True  # it is opened after this; the next event of any kind is the end
        elif here == change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    main()
