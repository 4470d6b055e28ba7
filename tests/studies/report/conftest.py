"""A real browser for tests of the page."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from deta.studies.report import write_report
from deta.studies.results import Comparison
from tests.studies.invented import invented_comparison

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LAUNCH_MILLISECONDS = 120_000
"""A start takes a second or two; a machine that trains on every core makes it wait."""


@pytest.fixture(scope="session")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The invented comparison with its run directories."""
    return invented_comparison(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def report(invented: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the invented comparison; tests change nothing."""
    return write_report(invented, tmp_path_factory.mktemp("report") / "new")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system; of a module, since other tests may want an event loop of their own."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)")
    expect.set_options(timeout=LAUNCH_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=LAUNCH_MILLISECONDS)
        yield browser
        browser.close()
