"""Names that somebody else has written."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deta.utils.names import csv_cell, csv_row, nearest, shown, shown_lines


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|x", "'+1+cmd|x"),
        ("-a", "'-a"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-0.5", "-0.5"),
        ("+3", "+3"),
        ("-", "-"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_text_that_begins_like_a_formula_has_an_apostrophe_before_it(name: str, cell: str) -> None:
    assert csv_cell(name) == cell


def test_numbers_stay_numbers_and_nothing_is_an_empty_cell() -> None:
    assert csv_row([-0.5, -3, None, "=x", True]) == [-0.5, -3, "", "'=x", True]


def test_a_cell_holds_no_letter_that_a_terminal_obeys() -> None:
    assert csv_row(["x\x1b[31m", "a\nb", "é"]) == [r"x\x1b[31m", r"a\nb", "é"]


@given(st.text())
def test_a_written_cell_is_never_computed(name: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow(csv_row([name]))
    (cell,) = next(csv.reader(io.StringIO(file.getvalue(), newline="")), [""])
    try:
        float(cell)
    except ValueError:
        assert cell == "-" or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_letters_that_a_terminal_obeys_are_shown_as_what_they_are() -> None:
    assert shown("a\x1b[31mb\x07\nc\u202e\udc80é") == r"a\x1b[31mb\x07\nc\u202e\udc80é"
    assert shown_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


@given(st.text(alphabet=st.characters()))
def test_what_is_shown_is_printable_in_one_line(name: str) -> None:
    text = shown(name)
    assert len(text.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)
    text.encode()


def test_the_nearest_name_is_like_the_given_one_or_none() -> None:
    assert nearest("trian", ["train", "eval"]) == "train"
    assert nearest("zzz", ["train", "eval"]) is None
