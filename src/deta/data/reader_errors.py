"""What can happen to the processes that read images, in words for a user."""

import re
import resource

_HANDLES, _HANDLES_PER_READER = 64, 16
"""Open files that the training itself and each reader need at least: every tensor of a waiting batch is one."""
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
    if not isinstance(error, RuntimeError) and not headline.startswith("Caught "):  # it died while it handed over
        headline = f"DataLoader worker exited unexpectedly, {headline}"
    advice = next((advice for pattern, advice in _FAILURES if re.search(pattern, headline)), None)
    return None if advice is None else ReaderError(f"{advice} ({headline})")


def require_handles(num_workers: int) -> None:
    """Raise ``ReaderError`` if the limit of open files would starve the reading processes, which then hang."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _HANDLES + _HANDLES_PER_READER * num_workers
    if num_workers and limit != resource.RLIM_INFINITY and limit < needed:
        raise ReaderError(
            f"{num_workers} reading processes need {needed} open files, the limit is {limit}: raise it "
            "(ulimit -n 4096), or use fewer data.num_workers"
        )
