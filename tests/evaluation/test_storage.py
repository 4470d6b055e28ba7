"""Numbers and matches of an evaluation on the disk."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from deta.evaluation.matching import ImageMatches, match_images
from deta.evaluation.storage import read_evaluation
from deta.utils.files import write_json
from tests.evaluation.evaluated import random_scene


def test_an_undefined_number_is_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"AP": 0.5, "APl": math.nan})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"AP": 0.5, "APl": None}
    stored = read_evaluation(tmp_path)
    assert stored is not None
    assert stored.metrics["AP"] == 0.5
    assert math.isnan(stored.metrics["APl"])


def test_a_number_that_was_written_as_nan_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"APl": NaN}')
    stored = read_evaluation(tmp_path)
    assert stored is not None
    assert math.isnan(stored.metrics["APl"])


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"AP": "0.5"}', b'{"AP": true}', b"\xff", b"[" * 100_000])
def test_a_garbled_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.json .*evaluate again"):
        read_evaluation(tmp_path)


def test_matches_come_back_and_contradictions_are_named(tmp_path: Path) -> None:
    matches = match_images(*random_scene(0), max_detections=100)
    path = tmp_path / "matches.npz"
    matches.save(path)
    again = ImageMatches.load(path)
    np.testing.assert_array_equal(again.is_match, matches.is_match)
    with np.load(path) as content:
        good = dict(content)
    for name, value in (
        ("images", good["images"] + 100),
        ("categories", good["categories"] - 100),
        ("is_match", good["is_match"][:, :1]),
        ("scores", good["scores"][:-1]),
        ("num_objects", good["num_objects"][0]),
    ):
        np.savez(path, **{**good, name: value})
        with pytest.raises(ValueError, match=r"matches\.npz does not hold matches.*: evaluate again"):
            ImageMatches.load(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"matches\.npz cannot be read as matches"):
        ImageMatches.load(path)
