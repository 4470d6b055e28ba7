"""Tables of rows with different keys."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deta.utils.files import replacing
from deta.utils.names import csv_row


def as_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Columns in the order in which their names first come, and the cells of every row; what a row lacks is None."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[row.get(name) for name in columns] for row in rows]


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with different keys as one table; what a row lacks stays empty."""
    columns, cells = as_table(list(rows))
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(csv_row(columns))
        writer.writerows(map(csv_row, cells))
