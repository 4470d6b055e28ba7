"""Repeat factors against values worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from deta.data import CocoAnnotations, read_coco
from deta.data.frequency import images_per_class, repeat_factors
from tests.data.folders import annotation, document, image, write_json

STEP = 2.0**-20


@pytest.fixture
def annotations(tmp_path: Path) -> CocoAnnotations:
    """Of 8 images, class 0 (id 3) in images 0 to 3 and class 1 (id 7) in image 3 alone, there twice; a crowd in 4."""
    rows = [(1, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0), (4, 3, 0), (4, 7, 0), (4, 7, 0), (5, 7, 1)]
    entries = [
        annotation(k, image_id=owner, category_id=category, iscrowd=crowd)
        for k, (owner, category, crowd) in enumerate(rows, start=1)
    ]
    return read_coco(write_json(tmp_path / "a.json", document([image(k) for k in range(1, 9)], entries)))


def test_images_are_counted_once_for_a_class_and_crowds_not(annotations: CocoAnnotations) -> None:
    assert images_per_class(annotations).tolist() == [4, 1]


def test_an_image_has_the_factor_of_its_rarest_class(annotations: CocoAnnotations) -> None:
    factors = repeat_factors(annotations, 0.5)
    assert factors == pytest.approx([1, 1, 1, 2, 1, 1, 1, 1], abs=STEP)  # sqrt(0.5 / 0.125) = 2
    factors = repeat_factors(annotations, 1.0)
    assert factors == pytest.approx([2**0.5] * 3 + [8**0.5, 1, 1, 1, 1], abs=STEP)


def test_sums_of_factors_are_exact(annotations: CocoAnnotations) -> None:
    factors = repeat_factors(annotations, 1.0)
    assert np.array_equal(factors / STEP, np.round(factors / STEP))


def test_factors_do_not_change_without_rare_classes_or_objects(annotations: CocoAnnotations, tmp_path: Path) -> None:
    assert repeat_factors(annotations, 0.001).tolist() == [1.0] * 8
    nothing = read_coco(write_json(tmp_path / "b.json", document(annotations=[])))
    assert repeat_factors(nothing, 1.0).tolist() == [1.0]


def test_a_share_beyond_one_is_refused(annotations: CocoAnnotations) -> None:
    with pytest.raises(ValueError, match=r"repeat_threshold must be in \[0, 1\], got 2"):
        repeat_factors(annotations, 2)
