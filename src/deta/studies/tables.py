"""A table for people and programs: one model, written as text, CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deta.runs.table import aligned
from deta.utils.files import write_text
from deta.utils.names import csv_row, shown

Value = float | int | str | None

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"
"""Text of an entry that does not exist."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    ABSENT: "--",
    "Δ": r"$\Delta$",
    "τ": r"$\tau$",
    "\N{GREEK SMALL LETTER GAMMA}": r"$\gamma$",
}
_MARKDOWN = {"\\": r"\\", "|": r"\|", "*": r"\*", "`": r"\`", "<": "&lt;"}


@dataclass(frozen=True)
class Column:
    """A column as people read it, and the columns of numbers that stand for it in CSV.

    Attributes:
        title: Heading.
        names: Names in CSV; at least one.
        is_number: Whether it is set to the right.
    """

    title: str
    names: tuple[str, ...]
    is_number: bool = True


@dataclass(frozen=True)
class Entry:
    """What stands in a row below a column.

    Attributes:
        text: For people, such as ``31.42 ± 0.31``.
        values: For programs, at full precision: one for each name of the column, None where there is none.
    """

    text: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Table:
    """Rows of entries.

    Attributes:
        caption: What it shows, in a sentence.
        columns: At least one.
        rows: One entry for each column.
        notes: Sentences that belong below it; CSV has none.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} entries for {len(self.columns)} columns")
            for column, entry in zip(self.columns, row, strict=True):
                if len(entry.values) != len(column.names):
                    raise ValueError(f"row {number}: {column.names} needs as many values, got {entry.values}")


@dataclass(frozen=True)
class Written:
    """A table in one format, row by row: some of its rows between the same ends are a table too.

    Attributes:
        head: What stands before the rows.
        rows: Each with its line end.
        foot: What stands behind them.
    """

    head: str
    rows: tuple[str, ...]
    foot: str = ""

    def __str__(self) -> str:
        return "".join((self.head, *self.rows, self.foot))


def write_tables(table: Table, folder: Path, name: str) -> list[Path]:
    """Write ``<name>.csv``, ``.md`` and ``.tex`` into an existing folder."""
    paths = []
    for ending, written in formats(table).items():
        paths.append(folder / f"{name}.{ending}")
        write_text(paths[-1], str(written))
    return paths


def formats(table: Table) -> dict[str, Written]:
    """The table in every format, by the ending of its file."""
    return {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}


def to_csv(table: Table) -> Written:
    """The values at full precision; an absent one is an empty cell."""
    head = _csv_line(name for column in table.columns for name in column.names)
    return Written(head, tuple(_csv_line(value for entry in row for value in entry.values) for row in table.rows))


def to_text(table: Table, width: int | None = None) -> str:
    """The texts in columns for a terminal, the notes as a list; ``width`` as ``aligned`` takes it."""
    rows = [[column.title for column in table.columns], *([entry.text for entry in row] for row in table.rows)]
    numbers = [place for place, column in enumerate(table.columns) if column.is_number]
    lines = aligned([[*row, ""] for row in rows], numbers, width)
    notes = "\n".join(f"- {shown(note)}" for note in table.notes)
    return "\n\n".join(part for part in (shown(table.caption), "\n".join(lines), notes) if part) + "\n"


def to_markdown(table: Table) -> Written:
    """The texts as a table of GitHub's Markdown, the notes as a list."""
    rules = ["---:" if column.is_number else "---" for column in table.columns]
    lines = [_markdown_line([_markdown(column.title) for column in table.columns]), _markdown_line(rules)]
    caption = f"{_markdown(table.caption)}\n\n" if table.caption else ""
    notes = "".join(f"- {_markdown(note)}\n" for note in table.notes)
    rows = tuple(_markdown_line([_markdown(entry.text) for entry in row]) for row in table.rows)
    return Written(caption + "".join(lines), rows, f"\n{notes}" if notes else "")


def to_latex(table: Table) -> Written:
    r"""The texts as a ``table`` with the rules of the package booktabs, the notes below it."""
    layout = "".join("r" if column.is_number else "l" for column in table.columns)
    head = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_latex(table.caption)}}}",
        rf"  \begin{{tabular}}{{{layout}}}",
        r"    \toprule",
        _latex_row([column.title for column in table.columns]),
        r"    \midrule",
    ]
    notes = [rf"  \par\smallskip\footnotesize {_latex(note)}" for note in table.notes]
    foot = [r"    \bottomrule", r"  \end{tabular}", *notes, r"\end{table}"]
    rows = tuple(f"{_latex_row([entry.text for entry in row])}\n" for row in table.rows)
    return Written("\n".join([*head, ""]), rows, "\n".join([*foot, ""]))


def _csv_line(values: Iterable[Value]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(csv_row(values))
    return line.getvalue()


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _latex_row(texts: Sequence[str]) -> str:
    cells = " & ".join(_latex(text) for text in texts)
    # A line that begins with [ would be read as the optional argument of the \\ before it.
    return rf"    {'{}' if cells.startswith('[') else ''}{cells} \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in shown(text.replace("\n", " ")))


def _markdown(text: str) -> str:
    return "".join(_MARKDOWN.get(letter, letter) for letter in shown(text.replace("\n", " ")))
