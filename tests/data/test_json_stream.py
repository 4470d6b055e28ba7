"""The streaming reader against the standard one, with windows so small that every token is cut somewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from deta.data import json_stream
from deta.data.json_stream import stream_object

DOCUMENT = {
    "info": {"text": 'a "quoted" é \\ \n line', "numbers": [1, -2.5, 1e-7, 12345678901234567890, True, None]},
    "rows": [{"id": 1, "box": [0.5, 12.25]}, [], "text, with ] and }", 17, -0.125, False],
    "empty": [],
    "kept": [{"id": 2}, 3],
    "last": 123456,
}


def read(path: Path, *keys: str) -> tuple[Any, dict[str, list[Any]]]:
    rows: dict[str, list[Any]] = {key: [] for key in keys}
    return stream_object(path, {key: rows[key].append for key in keys}), rows


@pytest.fixture(params=[1, 2, 7, 4096])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes read at once."""
    monkeypatch.setattr(json_stream, "_CHUNK", request.param)
    return int(request.param)


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"ensure_ascii": False, "separators": (",", ":")}], ids=str)
def test_lists_are_handed_over_and_everything_else_is_kept(tmp_path: Path, chunk: int, options: dict[str, Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(DOCUMENT, **options) + "\n", encoding="utf-8")
    content, rows = read(path, "rows", "empty", "absent")
    assert content == {**DOCUMENT, "rows": [], "empty": []}
    assert rows == {"rows": DOCUMENT["rows"], "empty": [], "absent": []}


@pytest.mark.parametrize("content", ["[1, 2]", "17", '"text"', "null", " {} ", '{"rows": {"a": 1}}'])
def test_other_values_stay_as_they_are(tmp_path: Path, chunk: int, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert read(path, "rows") == (json.loads(content), {"rows": []})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"rows": [\n  {"id": 1,,}',
        '{"rows": [1, 2',
        '{"rows": [1, 2}',
        '{"rows": [1 2]}',
        '{"rows": [1, ]}',
        '{"rows" [1]}',
        '{"rows": [1]',
        '{"rows": [1],\n}',
        '{rows: [1]}',
        '{"rows": [1]}\n\n x',
        '{"rows": ["text\n"]}',
        '{"rows": ["open',
        '{"a": tru}',
    ],
)  # fmt: skip
def test_a_fault_is_found_on_the_line_where_the_standard_reader_finds_it(
    tmp_path: Path, chunk: int, content: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(content)
    with pytest.raises(ValueError, match=f"at line {expected.value.lineno}, column \\d+$"):
        read(path, "rows")


def test_a_fault_inside_an_element_has_the_column_of_the_standard_reader(tmp_path: Path, chunk: int) -> None:
    content = '{"rows": [{"id": 1},\n   {"id": 22, "name": "x"},\n     {"id": 3, 4}]}'
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(content)
    with pytest.raises(ValueError, match=f"at line 3, column {expected.value.colno}$"):
        read(path, "rows")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, chunk: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"rows": ["\xff\xfe"]}')
    with pytest.raises(UnicodeDecodeError):
        read(path, "rows")


def test_a_fault_early_in_a_large_file_is_found_without_reading_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 64)
    path = tmp_path / "a.json"
    path.write_text('{"rows": [{"id": 1, "broken" 2, "more": 12345678901234567890}, ' + '{"id": 2}, ' * 10_000)
    num_bytes = 0

    class Counting(json_stream._Text):
        def _read_on(self) -> bool:
            nonlocal num_bytes
            num_bytes = self._file.tell()
            return super()._read_on()

    monkeypatch.setattr(json_stream, "_Text", Counting)
    with pytest.raises(ValueError, match="at line 1, column 30"):
        read(path, "rows")
    assert num_bytes < 1000
