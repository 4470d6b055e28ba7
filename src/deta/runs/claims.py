"""Who trains a run: the claim that one process holds on a run directory, on any number of machines.

A claim is a file that names its process. It is written under another name and then linked, so it is whole as soon as
it is there, and of several processes one gets it. A dead process's claim is never moved or removed before another
stands beside it: the successor links its own under the next number, sees that no other claim lives, and renames it to
``running.json``. Killed anywhere in between it leaves one more dead claim, and nobody's living one is touched.

Whether a process of this machine lives, its process table says; of another machine's, SLURM's queue, and where
there is none, the lease: a holder touches its claim every few seconds, and a claim that was watched for the length of
its lease without a change is dead. No clock is compared with that of another machine.

Locks of our own, and why not those of ``flufl.lock``, which guards a list for a moment in ``deta.runs.cells``: they are
broken when a lifetime fixed beforehand is over by the clock of whoever looks, though their holder lives, and not before
it is over though their holder died. What takes minutes or hours, here, in a search, a download or a cache of shards,
must be held for as long as its process lives and no longer.
"""

import contextlib
import errno
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from deta.runs.cluster import QueuedJob, jobs_in_queue, this_job, this_launch
from deta.utils.files import decode_json, named, remove_unfinished

RUNNING = "running.json"
"""Which process trains the run."""
SECONDS_OF_LEASE = 60.0
"""How long a holder may be silent, which another machine must watch before it takes its run."""
SECONDS_OF_SILENCE = 3600.0
"""The same for a claim without a lease, whose only signs of life are its metrics."""
_SECONDS_BETWEEN_SIGNS = 5.0
_SECONDS_BETWEEN_LOOKS = 0.5
_PLACES = ("checkpoints", "pictures", "figures", "evaluations/*")
"""Where a training writes in its directory."""
_NUMBERED = re.compile(r"running(?:\.(\d+))?\.json")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP)


class RunTakenError(FileExistsError):
    """Another process trains the run.

    Args:
        folder: The run directory.
        holder: That process.
    """

    def __init__(self, folder: Path, holder: "Place") -> None:
        super().__init__(
            f"{folder} is trained by another process ({holder}): give every training a folder of its own; "
            "one training on several devices takes trainer.devices"
        )
        self.holder = holder


@dataclass(frozen=True)
class Place:
    """A process.

    Attributes:
        host: Name of its machine.
        pid: Its number there.
        started: When it started, in ticks since the boot.
        job: Its SLURM job, None outside of one.
        life: How often that job was put back into the queue before.
        lease: Seconds without a sign of life after which another machine may take its run; 0 where it gives none.
        launch: What it has in common with the other processes of its training alone, see ``name_launch``.
    """

    host: str
    pid: int
    started: str | None
    job: str | None = None
    life: int = 0
    lease: float = 0.0
    launch: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"job {self.job}" if self.job else f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class _Sign:
    """What a claim looks like; every sign of life changes it."""

    place: Place | None
    time_ns: int


@dataclass
class _Own:
    """Claims of this process, and the thread that gives signs of life for all of them."""

    held: dict[Path, Place] = field(default_factory=dict)
    signs: threading.Thread | None = None


_own = _Own()


def claim(folder: Path) -> None:
    """Hold the run until ``release`` or the end of this process; nothing is done where it is held already.

    Where another machine may hold it, its claim is watched for the length of its lease.

    Raises:
        RunTakenError: Another process trains it.
        OSError: The claim cannot be written.
    """
    if is_held(folder):
        return
    while not _take(folder):
        pass  # another process has made the next claim: look who it is
    for place in (folder, *(path for pattern in _PLACES for path in folder.glob(pattern))):
        remove_unfinished(place)
    _own.held[folder.resolve() / RUNNING] = _here()
    if _own.signs is None or not _own.signs.is_alive():
        _own.signs = threading.Thread(target=_give_signs, name="claims", daemon=True)
        _own.signs.start()


def release(folder: Path) -> None:
    """Give up this process's claim; that of another one stays."""
    _own.held.pop(folder.resolve() / RUNNING, None)
    if is_held(folder):
        (folder / RUNNING).unlink(missing_ok=True)


def forget() -> None:
    """Give no further signs of life; for tests, whose folders go while their process stays."""
    _own.held.clear()


def is_held(folder: Path) -> bool:
    """Whether this process holds the run."""
    return _sign(folder / RUNNING).place == _here()


def require_held(folder: Path) -> None:
    """Refuse to go on with a run whose directory was removed or replaced meanwhile.

    Raises:
        FileNotFoundError: This process does not hold it any more.
    """
    if not is_held(folder):
        raise FileNotFoundError(
            f"{folder / RUNNING} is gone: the directory was removed or replaced while the run was trained, "
            "so it is not done"
        )


def is_claimed_beside(folder: Path) -> bool:
    """Whether the run is claimed by this process or one that was started together with it, such as another rank."""
    place = _sign(folder / RUNNING).place
    return place is not None and _is_beside(place)


def other_holder(folder: Path) -> Place | None:
    """The process that holds the run and was not started together with this one; None if there is none.

    As ``claim`` finds it: that of another machine is watched for the length of its lease.
    """
    others = [path for path, place in read_claims(folder) if place is not None and not _is_beside(place)]
    try:
        _require_dead(others, folder, set())
    except RunTakenError as error:
        return error.holder
    return None


def is_taken(folder: Path) -> bool:
    """Whether another process seems to hold the run."""
    claims = [(path, place) for path, place in read_claims(folder) if place not in (None, _here())]
    queue = jobs_in_queue([place.job for _, place in claims if place is not None and place.job is not None])
    return any(place is not None and seems_alive(path, place, queue) for path, place in claims)


def read_claims(folder: Path) -> list[tuple[Path, Place | None]]:
    """Claims on a run, dead ones among them, each with its content, None where that is damaged."""
    return [(path, _sign(path).place) for path in _claims(folder).values()]


def seems_alive(path: Path, place: Place, queue: Mapping[str, QueuedJob] | None) -> bool:
    """Whether a claim is held, told at once.

    Of another machine where SLURM cannot be asked the times of the files must do, compared with this machine's clock.
    That is good enough for a list; who takes a run watches its claim.

    Args:
        path: The claim.
        place: Its content.
        queue: ``jobs_in_queue`` of its job.
    """
    is_known = _is_known_alive(place, queue)
    if is_known is not None:
        return is_known
    traces = [file.stat().st_mtime for file in (path, path.with_name("metrics.jsonl")) if file.exists()]
    return any(abs(time.time() - trace) < (place.lease or SECONDS_OF_SILENCE) for trace in traces)


def _take(folder: Path) -> bool:
    """Link a claim beside the dead ones and let it take their place; False if another process was faster.

    Raises:
        RunTakenError: A claim lives.
    """
    dead: set[_Sign] = set()
    claims = _claims(folder)
    _require_dead(claims.values(), folder, dead)
    own = folder / (f"running.{max(claims) + 1}.json" if claims else RUNNING)
    if not _link(own):
        return False
    try:
        _require_dead((path for path in _claims(folder).values() if path != own), folder, dead)
        if own.name != RUNNING:
            own.replace(folder / RUNNING)
    except RunTakenError:
        if _sign(own).place == _here():
            own.unlink(missing_ok=True)
        raise
    except FileNotFoundError:
        return False  # the winner has cleared it away
    for number, path in _claims(folder).items():
        if number > 0:
            path.unlink(missing_ok=True)
    return True


def _require_dead(paths: Iterable[Path], folder: Path, dead: set[_Sign]) -> None:
    """Refuse a run of which a claim lives; those in ``dead`` are known and others are added."""
    for path in paths:
        sign = _sign(path)
        if sign.place is None or sign in dead:
            continue
        if _lives(path, sign.place):
            raise RunTakenError(folder, sign.place)
        dead.add(sign)


def _lives(path: Path, place: Place) -> bool:
    """Whether a claim is held; that of another machine is watched where nobody can be asked."""
    job = [] if place.job is None else [place.job]
    is_known = _is_known_alive(place, jobs_in_queue(job) if place.host != socket.gethostname() else {})
    if is_known is not None:
        return is_known
    if not place.lease:
        return seems_alive(path, place, None)  # of an earlier version, which gives no signs
    print(f"deta: watching for {place.lease:g} s whether {place} still trains {path.parent}", file=sys.stderr)
    first, end = _sign(path), time.monotonic() + place.lease
    while time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        sign = _sign(path)
        if sign != first:
            return sign.place == place  # else it was released meanwhile, or is another's by now
    return False


def _is_known_alive(place: Place, queue: Mapping[str, QueuedJob] | None) -> bool | None:
    """What the process table or SLURM says of a process; None where neither knows."""
    if place.host == socket.gethostname():
        return place.started is not None and _start_of(place.pid) == place.started
    if place.job is None:
        return None
    own = this_job()
    if own is not None and own.id == place.job:
        return own.life == place.life  # else an earlier life of this very job
    if queue is None:
        return None
    job = queue.get(place.job)
    return job is not None and job.state != "PENDING" and job.num_restarts <= place.life


def _link(path: Path) -> bool:
    """Make a claim of this process, whole at once; False if there is one of that name."""
    unfinished = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(json.dumps(asdict(_here()), indent=2) + "\n")
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise named(error, path) from error
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return unfinished.exists() and unfinished.stat().st_nlink > 1  # NFS repeats a request whose answer was lost
    except FileNotFoundError:
        return False  # the winner has cleared it away
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise named(error, path) from error
        return _create(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _create(path: Path) -> bool:
    """``_link`` for a file system without links: the name is exclusive, the content follows."""
    try:
        with path.open("x") as file:
            json.dump(asdict(_here()), file)
    except FileExistsError:
        return False
    return True


def _give_signs() -> None:
    """Touch the claims of this process; where another one has taken a run, this one must not write any further."""
    while True:
        time.sleep(_SECONDS_BETWEEN_SIGNS)
        for path, here in tuple(_own.held.items()):
            place = _sign(path).place
            if place == here:
                with contextlib.suppress(OSError):  # such as a server that does not answer: the next sign will do
                    os.utime(path)
            elif place is not None and path in _own.held:
                message = f"{place} has taken {path.parent}, since this process was silent for too long: it ends here"
                os.write(2, f"\ndeta: {message}\n".encode())
                os._exit(1)


def _claims(folder: Path) -> dict[int, Path]:
    """Claims by their number, ``running.json`` as 0."""
    found = ((_NUMBERED.fullmatch(path.name), path) for path in folder.glob("running*.json"))
    return dict(sorted((int(match[1] or 0), path) for match, path in found if match))


def _sign(path: Path) -> _Sign:
    """What a claim looks like now; the file is opened, since a network file system answers then as it is now."""
    try:
        with path.open("rb") as file:
            return _Sign(decode_json(file.read(), path, Place), os.fstat(file.fileno()).st_mtime_ns)
    except (OSError, ValueError):
        return _Sign(None, 0)


def _here() -> Place:
    """This process, as its claim names it."""
    pid, job = os.getpid(), this_job()
    place = Place(socket.gethostname(), pid, _start_of(pid), lease=SECONDS_OF_LEASE, launch=this_launch())
    return place if job is None else replace(place, job=job.id, life=job.life)


def _is_beside(place: Place) -> bool:
    here = _here()
    return (place.job, place.life, place.launch) == (here.job, here.life, here.launch)


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, in ticks since the boot; None if it is gone or dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]
