"""Fixtures that many tests share."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal import config_loader_impl
from hypothesis import settings
from PIL import Image

from deta.console.config_files import ConfigFiles
from deta.runs import claims as run_claims

PIXELS = Image.MAX_IMAGE_PIXELS
ROOT = Path(__file__).resolve().parents[1]

if sys.dont_write_bytecode:  # every process of the tests, and there are hundreds, would compile PyTorch anew
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(ROOT / ".pytest_cache" / "bytecode")
    sys.dont_write_bytecode = False
os.environ.pop("COLUMNS", None)  # of the terminal that the tests run in; tables in tests are as wide as they are
if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes: threads of each would wait for those of the others
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what is in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

config_loader_impl.ConfigRepository = ConfigFiles  # type: ignore[attr-defined]  # parsed once, whoever composes
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")  # the same inputs in every run; scripts/fuzz tries others


@pytest.fixture(autouse=True)
def no_claims() -> Iterator[None]:
    """No test's claim on a run outlives it: where another process has taken a run, its holder ends itself."""
    yield
    run_claims.forget()


@pytest.fixture(autouse=True)
def limit_of_pixels() -> Iterator[None]:
    """No test's limit of pixels, which Pillow keeps for the whole process, outlives it."""
    yield
    Image.MAX_IMAGE_PIXELS = PIXELS


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, weights and reference outputs: ``DETA_SHARED``, default ``../shared``."""
    folder = Path(os.environ.get("DETA_SHARED", ROOT.parent / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared files: {folder} does not exist (set DETA_SHARED)")
    return folder
