"""Compilation of the CPU loops."""

from collections.abc import Callable
from typing import Any

import numba
import pytest

from deta_kernels import cpu_kernels


def test_loops_are_kept_for_later_processes() -> None:
    assert isinstance(cpu_kernels.forward, numba.core.dispatcher.Dispatcher)
    assert cpu_kernels.forward.stats.cache_path


def test_without_a_writable_folder_the_loops_still_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def refuse_cache(function: Callable[..., Any], *, cache: bool = False, **options: Any) -> Callable[..., Any]:  # noqa: ANN401
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        compiled: Callable[..., Any] = njit(function, **options)
        return compiled

    monkeypatch.setattr(numba, "njit", refuse_cache)
    assert cpu_kernels._compile(lambda x: x + 1)(2) == 3
