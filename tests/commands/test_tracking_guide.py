"""The guide to tracking names every key that a run logs."""

import re
from pathlib import Path

from deta.tracking.metrics import read_metrics
from tests.commands.conftest import Run

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "tracking.md"


def documented() -> list[re.Pattern[str]]:
    """The keys of the table, as patterns."""
    rows = [line for line in GUIDE.read_text().splitlines() if line.startswith("| `")]
    keys = [key for row in rows for key in re.findall(r"`([^`]+)`", row.split("|")[1])]
    return [
        re.compile(re.sub(r"<\w+>", "[^/]+", re.escape(key).replace("<size>", "(_small|_medium|_large)?")))
        for key in keys
    ]


def test_every_logged_key_stands_in_the_table(trained: Run) -> None:
    logged = {key for row in read_metrics(trained.folder / "metrics.jsonl") for key in row} - {"step", "time"}
    assert len(logged) > 40
    patterns = documented()
    assert [key for key in sorted(logged) if not any(pattern.fullmatch(key) for pattern in patterns)] == []
