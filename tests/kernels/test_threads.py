"""Sharing of work among threads."""

import threading
import time
from collections.abc import Callable

import pytest

from deta_kernels import threads
from deta_kernels.threads import run_parallel


@pytest.fixture(params=["openmp", "python"])
def _launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(threads, "_openmp_entry", lambda: None)
    elif threads._openmp_entry() is None:
        pytest.skip("PyTorch's OpenMP runtime has no GOMP_parallel")


@pytest.mark.usefixtures("_launcher")
@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_every_item_runs_exactly_once(set_threads: Callable[[int], None], count: int) -> None:
    set_threads(3)
    done: list[int] = []
    run_parallel(count, done.append)
    assert sorted(done) == list(range(count))


@pytest.mark.usefixtures("_launcher")
def test_items_run_on_as_many_threads_as_pytorch_uses(set_threads: Callable[[int], None]) -> None:
    for count in (1, 2, 3):
        set_threads(count)
        seen: set[int] = set()

        def item(_: int, seen: set[int] = seen) -> None:
            seen.add(threading.get_ident())
            time.sleep(0.01)

        run_parallel(12, item)
        assert len(seen) == count


@pytest.mark.usefixtures("_launcher")
def test_an_error_in_any_item_reaches_the_caller(set_threads: Callable[[int], None]) -> None:
    set_threads(2)

    def item(index: int) -> None:
        if index == 7:
            raise KeyError(index)

    with pytest.raises(KeyError, match="7"):
        run_parallel(20, item)
    run_parallel(4, lambda _: None)  # the threads are usable afterwards
