"""Tables as CSV files."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deta.utils.files import replacing
from deta.utils.names import csv_row


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with different keys as one table; what a row lacks stays empty."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(csv_row(columns))
        writer.writerows(csv_row(row.get(name) for name in columns) for row in rows)
