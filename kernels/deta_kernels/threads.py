"""Runs independent pieces of compiled CPU work on the threads that PyTorch already keeps.

PyTorch's OpenMP threads spin for some milliseconds after every operation. Threads of our own would compete with
them for the same cores, so the work is handed to the same runtime through its one public entry point,
``GOMP_parallel``. Where that symbol is absent (another OpenMP runtime), ordinary Python threads do the work.
"""

import ctypes
import itertools
import threading
from collections.abc import Callable
from functools import cache

import torch

_ParallelBody = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run_parallel(num_items: int, run_item: Callable[[int], None]) -> None:
    """Call ``run_item(i)`` for every ``i`` below ``num_items`` on up to ``torch.get_num_threads()`` threads.

    Items are claimed one by one, so uneven ones balance. ``run_item`` must release the interpreter lock to run
    in parallel and must not write what another item writes. An exception of any item is raised here.
    """
    num_threads = min(torch.get_num_threads(), num_items)
    if num_threads <= 1:
        for item in range(num_items):
            run_item(item)
        return
    items = itertools.count()  # next() is atomic
    errors: list[BaseException] = []

    def drain(_: int | None = None) -> None:
        try:
            while not errors and (item := next(items)) < num_items:
                run_item(item)
        except BaseException as error:
            errors.append(error)  # an exception cannot pass through the C frames of the runtime

    _launch(drain, num_threads)
    if errors:
        raise errors[0]


def _launch(drain: Callable[[int | None], None], num_threads: int) -> None:
    parallel = _openmp_entry()
    if parallel is not None:
        parallel(_ParallelBody(drain), None, num_threads, 0)
        return
    helpers = [threading.Thread(target=drain, args=(None,)) for _ in range(num_threads - 1)]
    for helper in helpers:
        helper.start()
    drain(None)
    for helper in helpers:
        helper.join()


@cache
def _openmp_entry() -> Callable[..., None] | None:
    """``GOMP_parallel(body, data, num_threads, flags)`` of the runtime loaded with PyTorch, or None."""
    entry = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if entry is None:
        return None
    entry.argtypes = [_ParallelBody, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    entry.restype = None
    return entry  # type: ignore[no-any-return]  # a function of ctypes
