"""A picture of a report for the documents: ``python scripts/report_screenshot.py <report.html> <picture.jpg>``."""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1400, 1680
"""Pixels: the head, the table and the first charts."""
QUALITY = 72
MILLISECONDS = 120_000


def main() -> None:
    """Open the page offline in the system's Chromium and save what the window shows, or one element of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="report.html of deta report")
    parser.add_argument("picture", type=Path, help="a .jpg to write")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the window in pixels")
    parser.add_argument("--height", type=int, default=HEIGHT, help="of the window in pixels")
    parser.add_argument("--element", help="id of the one thing to show, such as plot-curves or plot-sizes")
    parser.add_argument("--dark", action="store_true", help="the page's dark colours")
    given = parser.parse_args()
    path = shutil.which("chromium")
    if path is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport={"width": given.width, "height": given.height},
            color_scheme="dark" if given.dark else "light",
            offline=True,
        )
        page.goto(given.page.resolve().as_uri(), timeout=MILLISECONDS)
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=MILLISECONDS)
        shown = page if given.element is None else page.locator(f"#{given.element}")
        shown.screenshot(path=given.picture, type="jpeg", quality=QUALITY, timeout=MILLISECONDS)
        browser.close()
    print(f"{given.picture}: {given.picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
