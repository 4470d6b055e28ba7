"""Compilation of the CPU loops."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    code = """
import torch
from deta_kernels import cpu_kernels, deformable_attention
value = torch.ones(1, 1, 1, 4, requires_grad=True)
reference, offsets = torch.full((1, 1, 1, 2), 0.5), torch.zeros(1, 1, 1, 1, 1, 2)
deformable_attention(value, ((1, 1),), reference, offsets, torch.zeros(1, 1, 1, 1)).sum().backward()
print([sum(loops.stats.cache_misses.values()) for loops in (cpu_kernels.forward, cpu_kernels.backward)], value.grad)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert [text.startswith(misses) for text, misses in zip(said, ("[1, 1]", "[0, 0]"), strict=True)] == [True, True]
    assert all("[[1., 1., 1., 1.]]" in text for text in said)
