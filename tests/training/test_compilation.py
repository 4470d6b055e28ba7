"""A missing compiler is found before anything else."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from torch._inductor import config
from torch._inductor.cpp_builder import cpp_compiler_search

from deta.training.compilation import keep_compiled_code, require_compilers

patch: Callable[..., AbstractContextManager[None]] = config.patch


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """The search remembers what it has found."""
    cpp_compiler_search.cache_clear()
    yield
    cpp_compiler_search.cache_clear()


def test_a_compiler_that_does_not_run_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    expected = r"needs a C\+\+ compiler, and CXX=/nonexistent/g\+\+ does not run.*compile=false"
    with patch({"cpp.cxx": (None, "/nonexistent/g++")}), pytest.raises(ValueError, match=expected):
        require_compilers("cpu")


def test_missing_headers_of_python_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    expected = r"Python\.h: install the development files"
    with patch({"cpp.cxx": (None, "true")}), pytest.raises(ValueError, match=expected):  # it succeeds
        require_compilers("cpu")


def test_a_gpu_needs_a_c_compiler_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with patch({"cpp.cxx": (None, "true")}):
        require_compilers("cpu")
        with pytest.raises(ValueError, match="needs a C compiler: install gcc, set CC"):
            require_compilers("cuda")


def test_compiled_code_is_kept_below_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that what is set here goes again
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "deta" / "compiled")
    assert (tmp_path / "deta" / "compiled").is_dir()


def test_a_folder_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"
    assert not list(tmp_path.iterdir())
