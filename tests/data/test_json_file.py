"""The parts of a JSON file, and what is said where it is none."""

import json
from pathlib import Path

import pytest

from deta.data.json_file import elements, kind_of, read_elements, read_members, require_lists

BROKEN = [
    '{"rows": [\n  {"id": 1,,}',
    '{"rows": [1, 2}',
    '{"rows": [1 2]}',
    '{"rows" [1]}',
    "{rows: [1]}",
    '{"rows": [1]}\n\n x',
    '{"a": tru}',
]


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_members_and_elements_are_the_text_of_their_values(tmp_path: Path, indent: int | None, mark: bytes) -> None:
    document = {"rows": [1, {"a": [None, "é\n"]}, "😀"], "none": [], "other": {"rows": 3}}
    members = read_members(write(tmp_path, mark + json.dumps(document, indent=indent).encode()))
    assert {key: json.loads(bytes(value)) for key, value in members.items()} == document
    rows = elements(members["rows"])
    assert rows is not None
    assert [json.loads(bytes(row)) for row in rows] == document["rows"]
    assert elements(members["none"]) == []
    assert elements(members["other"]) is None
    assert kind_of(members["other"]) == "an object"


def test_members_outlive_the_file_on_the_disk(tmp_path: Path) -> None:
    path = write(tmp_path, '{"rows": [1, 2]}')
    members = read_members(path)
    path.unlink()
    assert bytes(members["rows"]) == b"[1, 2]"


@pytest.mark.parametrize("content", BROKEN)
def test_a_fault_is_found_on_the_line_where_the_standard_reader_finds_it(tmp_path: Path, content: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(content)
    with pytest.raises(ValueError, match=f"not valid JSON: .* at line {expected.value.lineno}, column \\d+"):
        read_members(write(tmp_path, content))


@pytest.mark.parametrize("content", ['{"rows": [1, 2', "{", '{"rows": ["open', " "])
def test_a_file_that_is_cut_off_ends_too_early(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON: the file ends too early at line 1"):
        read_members(write(tmp_path, content))


def test_the_place_of_a_fault_counts_lines_beyond_a_block(tmp_path: Path) -> None:
    content = '{"a": "' + "x" * 2**20 + '",\n' * 1 + "\n" * 2**20 + '  "b": NaN}'
    with pytest.raises(ValueError, match=f"NaN is no number of JSON.* at line {2**20 + 2}, column 8, after"):
        read_members(write(tmp_path, content))


@pytest.mark.parametrize(("literal", "shown"), [("NaN", "NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity")])
def test_numbers_that_are_none_are_named(tmp_path: Path, literal: str, shown: str) -> None:
    with pytest.raises(ValueError, match=f": {shown} is no number of JSON, write null .* line 1, column"):
        read_members(write(tmp_path, f'{{"a": [1, {literal}]}}'))


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "\\ud83d\\ude00\\ud83d"])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, half: str) -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair is no character at line 1"):
        read_members(write(tmp_path, f'{{"a": "{half}"}}'))


def test_a_doubled_key_is_refused_even_where_both_values_are_equal(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json has the key 'rows' more than once"):
        read_members(write(tmp_path, '{"rows": [], "a": 1, "r\\u006fws": []}'))


def test_another_kind_of_file_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold a JSON list, not an object"):
        read_elements(write(tmp_path, "{}"))
    with pytest.raises(ValueError, match="must hold a JSON object, not a number"):
        read_members(write(tmp_path, "-1"))
    with pytest.raises(ValueError, match="is empty"):
        read_members(write(tmp_path, ""))


@pytest.mark.parametrize("content", [b"\x00" * 1000, '{"a": 1}'.encode("utf-16"), b'{"a\xff": 1}', b"<html>"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        read_members(write(tmp_path, content))


def test_depth_without_end_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json cannot be used: it is nested"):
        read_elements(write(tmp_path, "[" * 100_000))


def test_keys_are_shown_short_and_printable(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"\x1b[2J": 1, "\ue000": 2, "x" * 10_000: 3}))
    with pytest.raises(ValueError, match="non-empty list 'images'") as error:
        require_lists(path, read_members(path), ["images"])
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000
