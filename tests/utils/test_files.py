import errno
import json
import os
from pathlib import Path

import pytest

from deta.utils.files import read_yaml, replacing, write_json, write_text


def test_a_failure_keeps_the_earlier_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_text(path, "earlier")
    with pytest.raises(OSError, match=r"record\.json"), replacing(path) as unfinished:
        _write_half(unfinished)
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with pytest.raises(OSError, match="No space left") as caught, replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC
    assert str(path) in str(caught.value)
    assert f"disk of {tmp_path}" in str(caught.value)


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"AP": float("nan"), "rows": [1.5, float("inf"), (float("-inf"),)], "name": "a"})
    assert json.loads(path.read_text()) == {"AP": None, "rows": [1.5, None, [None]], "name": "a"}


def _write_half(path: Path) -> None:
    path.write_text("half")
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool foo",
        "a: !!timestamp foo",
        "a: !!int ''",
        "a: [",
        "? {a: 1}\n: 2",
        "a: &a [1]\nb: [*a, *a]",
        "[" * 5000,
    ],
)
def test_yaml_that_is_not_plain_is_one_message_with_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml is damaged: no plain YAML"):
        read_yaml(tmp_path / "config.yaml")


def test_plain_yaml_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1.0e-05\nb: [null, x]\n")
    assert read_yaml(tmp_path / "config.yaml") == {"a": 1e-5, "b": [None, "x"]}
