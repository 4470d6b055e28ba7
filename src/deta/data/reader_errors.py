"""What can happen to the processes that read images, in words for a user."""

import os
import re
import resource
import tempfile

from deta.utils.wording import counted

_HANDLES, _HANDLES_PER_READER = 64, 16
"""Open files that the training itself and each reader need at least: every tensor of a waiting batch is one."""
_LONGEST_FOLDER = 75
"""Bytes: Python's ``pymp-12345678/listener-12345678`` below it is a socket, whose path may have 107 on Linux."""
_FAILURES = (
    (
        "DataLoader timed out after",
        "no batch came from the reading processes within data.read_timeout: see whether the disk or the store of the "
        "images still answers, give more seconds (0 waits for ever), or see with data.num_workers=0 where it stops",
    ),
    (
        "shared memory|</torch_",
        "the shared memory that hands over batches (/dev/shm) is full: enlarge it (docker run --shm-size=8g), or use "
        "fewer data.num_workers",
    ),
    (
        r"DataLoader worker .*(signal: Killed|exited unexpectedly(,|$))",
        "a reading process was killed, most often because the memory was full: use fewer data.num_workers, a smaller "
        "data.batch_size or data.max_image_pixels, or ask for more memory",
    ),
    (
        r"DataLoader worker .*(signal: Segmentation|signal: Aborted|with exit code)",
        "a reading process crashed: data.num_workers=0 shows where",
    ),
    (
        "Too many open files",
        "the reading processes ran out of open files: raise the limit (ulimit -n 4096), or use fewer data.num_workers",
    ),
)
"""How PyTorch words what happened, and what to do about it."""


class ReaderError(OSError):
    """A reading process is gone or silent; the message says what to do."""


def reader_failure(error: RuntimeError | ConnectionError | EOFError) -> ReaderError | None:
    """What an error of PyTorch says of the reading processes, or None if it is about something else.

    That a process was killed is raised wherever the training is at that moment, between two batches or in one.
    """
    headline = str(error).partition("\n")[0].strip() or type(error).__name__
    is_own = type(error).__module__ != "builtins"  # says itself what happened, such as that another rank is lost
    is_of_handover = not isinstance(error, RuntimeError) and not is_own
    if is_of_handover and not headline.startswith("Caught "):
        headline = f"DataLoader worker exited unexpectedly, {headline}"
    advice = next((advice for pattern, advice in _FAILURES if re.search(pattern, headline)), None)
    return None if advice is None else ReaderError(f"{advice} ({headline})")


def require_room_to_read(num_workers: int) -> None:
    """Refuse to start reading processes that would hang.

    Raises:
        ReaderError: The limit of open files is too low for so many, or the path of the folder for temporary files is
            too long for their sockets.
    """
    folder = tempfile.gettempdir()
    if num_workers and len(os.fsencode(folder)) > _LONGEST_FOLDER:
        raise ReaderError(
            f"reading processes cannot open sockets below {folder}, whose path has more than {_LONGEST_FOLDER} bytes: "
            "set TMPDIR to a shorter one, or data.num_workers=0"
        )
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _HANDLES + _HANDLES_PER_READER * num_workers
    if num_workers and limit != resource.RLIM_INFINITY and limit < needed:
        readers = counted(num_workers, "reading process needs", "reading processes need")
        raise ReaderError(
            f"{readers} {needed} open files, the limit is {limit}: raise it (ulimit -n 4096), or use fewer "
            "data.num_workers"
        )
