"""One table in every format."""

import csv
import io
from pathlib import Path

import pytest

from deta.studies.tables import (
    ABSENT,
    MINUS,
    Column,
    Entry,
    Table,
    to_csv,
    to_latex,
    to_markdown,
    to_text,
    write_tables,
)

COLUMNS = (Column("assigner", ("assigner",), is_number=False), Column("AP", ("AP_mean", "AP_std")))
TABLE = Table(
    caption="50 % of a_b",
    columns=COLUMNS,
    rows=(
        (Entry("iou|x", ("iou|x",)), Entry("31.4 ± 0.3", (31.4159, 0.31))),
        (Entry('<script>, "q"\n', ('<script>, "q"\n',)), Entry("missing", (None, None))),
    ),
    notes=("50 runs & more",),
)


def test_csv_holds_the_values_at_full_precision_and_gaps_as_empty_cells() -> None:
    rows = list(csv.reader(io.StringIO(str(to_csv(TABLE)))))
    assert rows == [
        ["assigner", "AP_mean", "AP_std"],
        ["iou|x", "31.4159", "0.31"],
        ['<script>, "q"\\n', "", ""],
    ]


def test_text_sets_columns_below_each_other() -> None:
    lines = to_text(TABLE).splitlines()
    assert lines[0] == "50 % of a_b"
    assert lines[2].split() == ["assigner", "AP"]
    assert lines[3] == "iou|x" + " " * (len(lines[2]) - len("iou|x") - len("31.4 ± 0.3")) + "31.4 ± 0.3"
    assert lines[-1] == "- 50 runs & more"


def test_markdown_sets_numbers_to_the_right_and_keeps_names_inside_their_cells() -> None:
    assert str(to_markdown(TABLE)).splitlines() == [
        "50 % of a_b",
        "",
        "| assigner | AP |",
        "| --- | ---: |",
        r"| iou\|x | 31.4 ± 0.3 |",
        '| &lt;script>, "q"  | missing |',
        "",
        "- 50 runs & more",
    ]


def test_latex_has_the_rules_of_booktabs_and_no_letter_with_a_meaning() -> None:
    text = str(to_latex(TABLE))
    assert r"\begin{tabular}{lr}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"    iou\textbar{}x & 31.4 $\pm$ 0.3 \\" in text
    assert r"\caption{50 \% of a\_b}" in text
    assert r"50 runs \& more" in text
    assert all(letter not in text for letter in "<>|±")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a\\b", r"a\textbackslash{}b"),
        ("x^2 ~ #{1}", r"x\textasciicircum{}2 \textasciitilde{} \#\{1\}"),
        (f"{MINUS}1 τ {ABSENT}", r"$-$1 $\tau$ --"),
    ],
)
def test_every_special_letter_of_latex_is_written_out(given: str, expected: str) -> None:
    table = Table("", (Column("x", ("x",)),), ((Entry(given, (given,)),),))
    assert f"    {expected} \\\\" in str(to_latex(table))


def test_an_interval_at_the_start_of_a_row_is_not_an_argument_of_latex() -> None:
    table = Table("", (Column("x", ("x",)),), ((Entry("[1, 2]", (1,)),),))
    assert r"    {}[1, 2] \\" in str(to_latex(table))


def test_a_table_without_rows_is_a_table() -> None:
    empty = Table("", COLUMNS, ())
    assert str(to_csv(empty)) == "assigner,AP_mean,AP_std\n"
    assert str(to_markdown(empty)) == "| assigner | AP |\n| --- | ---: |\n"


def test_rows_that_do_not_fit_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="row 0 has 1 entries for 2 columns"):
        Table("", COLUMNS, ((Entry("a", ("a",)),),))
    with pytest.raises(ValueError, match="AP_std"):
        Table("", COLUMNS, ((Entry("a", ("a",)), Entry("1", (1,))),))


def test_tables_are_written_beside_each_other(tmp_path: Path) -> None:
    paths = write_tables(TABLE, tmp_path, "table")
    assert [path.name for path in paths] == ["table.csv", "table.md", "table.tex"]
    assert paths[0].read_bytes() == str(to_csv(TABLE)).encode()


def test_names_that_programs_obey_are_harmless_in_every_format() -> None:
    name = "=HYPERLINK(1)\x1b[31m\u202e"
    table = Table("c\x1b", COLUMNS, ((Entry(name, (name,)), Entry("1", (-1.0, None))),), (name,))
    rows = list(csv.reader(io.StringIO(str(to_csv(table)))))
    assert rows[1] == [r"'=HYPERLINK(1)\x1b[31m\u202e", "-1.0", ""]
    for text in (to_text(table), str(to_markdown(table)), str(to_latex(table))):
        assert not any(letter in text for letter in "\x1b\u202e")
    assert r"\x1b[31m\u202e" in to_text(table)


def test_the_text_fits_the_terminal() -> None:
    long = Table("", COLUMNS, ((Entry("x" * 60, ("x",)), Entry("31.4 ± 0.3", (31.4, 0.3))),))
    row = to_text(long, width=40).splitlines()[1]
    assert len(row) == 40
    assert row.endswith("x  31.4 ± 0.3")


def test_some_of_the_rows_between_the_same_ends_are_a_table_too() -> None:
    some = Table(TABLE.caption, TABLE.columns, TABLE.rows[1:], TABLE.notes)
    for write in (to_csv, to_markdown, to_latex):
        whole = write(TABLE)
        assert "".join([whole.head, whole.rows[1], whole.foot]) == str(write(some))
