"""Many cases in forked processes, so that one that hangs or takes the process with it ends nothing but itself."""

import multiprocessing
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from scripts.fuzz.trial import FINE, Kind, Outcome, Verdict, draw, judge

_MEMORY = 6 << 30
"""Bytes of address space that a process may take beyond what it has when it is forked."""


def verdicts(kind: Kind, *, seed: int, numbers: range) -> Iterator[tuple[int, Verdict]]:
    """What becomes of every case of these numbers."""
    context = multiprocessing.get_context("fork")
    position = numbers.start
    while position < numbers.stop:
        receiver, sender = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory(prefix="fuzz") as folder:  # here: a process that is killed removes nothing
            left = range(position, numbers.stop)
            process = context.Process(target=_work, args=(kind, seed, left, Path(folder), sender))
            process.start()
            sender.close()
            try:
                while position < numbers.stop:
                    verdict = _next(receiver, kind.seconds)
                    yield position, verdict
                    position += 1
                    if verdict.outcome in (Outcome.HANG, Outcome.DIED):
                        break
            finally:
                process.kill()
                process.join()
                receiver.close()


def report(kind: Kind, *, seed: int, number: int, output: Path) -> Counter[Outcome]:
    """Try ``number`` cases, keep the bad ones and print a table of what went wrong."""
    counts: Counter[Outcome] = Counter()
    kinds: Counter[str] = Counter()
    for index, verdict in verdicts(kind, seed=seed, numbers=range(number)):
        counts[verdict.outcome] += 1
        if verdict.outcome not in FINE:
            case = draw(kind, seed, index)
            place = output / kind.name / f"{seed}-{index}-{verdict.outcome}{kind.suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(case.content)
            place.with_suffix(".txt").write_text(f"{case.title}\n{verdict.detail}\n", errors="backslashreplace")
            kinds[f"{verdict.outcome}: {verdict.detail[:100]}"] += 1
    print(f"{kind.name}: {number} cases of seed {seed}: " + ", ".join(f"{counts[name]} {name}" for name in Outcome))
    for line, count in kinds.most_common(20):
        print(f"  {count:5d}  {line.encode('unicode_escape').decode()}")
    return counts


def _work(kind: Kind, seed: int, numbers: range, folder: Path, sender: Connection) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, resource.RLIM_INFINITY))
    tempfile.tempdir = str(folder)  # what else is made for the time of a case goes with it
    for number in numbers:
        sender.send(judge(kind, draw(kind, seed, number), folder))


def _next(receiver: Connection, seconds: float) -> Verdict:
    if not receiver.poll(seconds):
        return Verdict(Outcome.HANG, f"after {seconds:.0f} s")
    try:
        verdict: Verdict = receiver.recv()
    except EOFError:
        return Verdict(Outcome.DIED, "the process ended")
    return verdict
