"""Whether what ``torch.compile`` starts to build its code is here, and where the code lies."""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from torch._inductor.cpp_builder import get_cpp_compiler  # its own search is the only one that tells what it will take
from torch._inductor.exc import InvalidCxxCompiler

from deta.utils.files import home_folder


def require_compilers(device_type: str) -> None:
    """Refuse at once what would fail in the first step, after the data are read.

    Args:
        device_type: ``cpu`` or ``cuda``, where the detector will run.

    Raises:
        ValueError: There is no C++ compiler, no header of Python or, for a GPU, no Triton or C compiler.
    """
    remedy = "or set compile=false"
    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, OSError) as error:
        chosen = os.environ.get("CXX")
        found = "none is in PATH" if chosen is None else f"CXX={chosen} does not run"
        raise ValueError(
            f"compile needs a C++ compiler, and {found}: install g++, set CXX to a compiler, {remedy}"
        ) from error
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise ValueError(f"compile needs {header}: install the development files of this Python, {remedy}")
    if device_type != "cuda":
        return
    if importlib.util.find_spec("triton") is None:
        raise ValueError(f"compile on a GPU needs Triton: pip install triton, {remedy}")
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or shutil.which(compiler) is None:
        raise ValueError(f"compile on a GPU needs a C compiler: install gcc, set CC to a compiler, {remedy}")


def keep_compiled_code() -> None:
    """Let code lie where a later process finds it, ``deta/compiled`` in ``XDG_CACHE_HOME`` (default ``~/.cache``).

    What ``TORCHINDUCTOR_CACHE_DIR`` names already stays.

    Raises:
        OSError: The folder cannot be made.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache") / "deta" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
