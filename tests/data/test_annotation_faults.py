"""Annotation files with random faults: each is read rightly or refused by one message that names the file."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from deta.data import read_coco
from deta.evaluation.ground_truth import read_ground_truth
from tests.data.folders import annotation, document, image

SOUND = document(
    [image(1), image(2, file_name="folder/2.png")],
    [annotation(1), annotation(2, image_id=2, category_id=7, iscrowd=1), annotation(3, bbox=[0.5, 1, 2, 3])],
    info={"year": 2017},
)
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1.0, 0.5, 2**31, 2**53, 2**63, -(2**63), 10**400, 1e308, float("nan"),
    float("inf"), -0.0, "", " ", "1", "\ud800", "\udc00", "\0", "\x1b[2J", "../x", "/x", "x" * 5000, "ключ", "😀",
    [], {}, [[]],
    [1, 2, 3, 4], [1, 2, 3, "4"], [True] * 4, [0, 0, 1e9, 1], {"a": 1}, [1] * 100,
]  # fmt: skip
values = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=5))
kinds = st.sampled_from(["set", "set", "set", "delete", "double", "add"])


def places(value: object) -> list[tuple[Any, Any]]:
    """Every container and key in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in pairs for place in [(value, key), *places(inner)]]


def changed(content: dict[str, Any], kind: str, place: int, value: object) -> dict[str, Any]:
    content = copy.deepcopy(content)
    found = places(content)
    if not found:
        return content
    container, key = found[place % len(found)]
    if kind == "set":
        container[key] = value
    elif kind == "delete":
        del container[key]
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]) if kind == "double" else value)
    else:
        container[f"{key}{'x' * (kind == 'add')}"] = value
    return content


def require_clean(path: Path) -> None:
    """Read as for training and as for evaluation: both give the same, or both refuse with a message."""
    try:
        trained = read_coco(path)
    except ValueError as error:
        message = str(error)
        is_short_and_printable = len(message) < 20_000 and message.replace("\n", "").isprintable()
        assert (str(path) in message, is_short_and_printable) == (True, True), message
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_ground_truth(path)
        return
    evaluated = read_ground_truth(path)
    assert len(trained) == len(evaluated.image_ids)
    assert trained.report.num_annotations == len(evaluated.boxes_xywh)
    assert trained.categories.ids == evaluated.category_ids
    sizes = np.repeat(trained.sizes[:, ::-1], np.diff(trained.offsets), axis=0)
    assert (trained.boxes[:, :2] >= 0).all()
    assert (trained.boxes[:, 2:] <= sizes).all()
    assert (trained.boxes[:, 2:] > trained.boxes[:, :2]).all()
    assert np.isfinite(trained.areas).all()
    assert all(".." not in trained.file_name(k) for k in range(len(trained)))
    assert all(name.strip() for name in trained.categories.names)


@seed(0)
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(kinds, st.integers(0, 2**16), values), min_size=1, max_size=3))
def test_changed_values_are_read_or_refused_by_name(tmp_path: Path, changes: list[tuple[str, int, object]]) -> None:
    content = SOUND
    for kind, place, value in changes:
        content = changed(content, kind, place, value)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    require_clean(path)


@seed(0)
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.integers(0, 2**16), min_size=1, max_size=4),
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from([b"NaN", b"[" * 3000, b'"', b"{", b"}", b"\xff", b"\\ud800", b"\xef\xbb\xbf", b"1" * 400]),
        ),
        min_size=4,
        max_size=4,
    ),
    cuts=st.integers(0, 30),
)
def test_changed_bytes_are_read_or_refused_by_name(
    tmp_path: Path, places: list[int], pieces: list[bytes], cuts: int
) -> None:
    text = json.dumps(SOUND).encode()
    for place, piece in zip(places, pieces, strict=False):
        at = place % (len(text) + 1)
        text = text[:at] + piece + text[at + cuts :]
    path = tmp_path / "a.json"
    path.write_bytes(text)
    require_clean(path)
