import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deta.data.division import divide


def scene(seed: int, num: int = 400) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Units of one to four images, and objects of four classes from frequent to rare, which come in clusters."""
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(num), rng.integers(1, 5, num))
    is_there = rng.random((num, 4)) < [0.9, 0.5, 0.2, 0.05]
    return units, rng.poisson(3.0, (len(units), 4)) * is_there[units]


def shares_of(parts: NDArray[np.int64], counts: NDArray[np.int64], part: int) -> NDArray[np.float64]:
    """``[C]`` share of the objects of each class."""
    return np.asarray(counts[parts == part].sum(axis=0) / counts.sum(axis=0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), val=st.sampled_from([0.1, 0.2, 0.5]))
def test_every_class_has_its_share_and_no_unit_is_parted(seed: int, val: float) -> None:
    units, counts = scene(seed)
    parts = divide(units, counts, [1 - val, val], seed=seed)
    for unit in range(int(units.max()) + 1):
        assert len(set(parts[units == unit])) == 1
    # The rarest class has some 50 images in 20 units, one of which is 5 % of it.
    assert shares_of(parts, counts, 1) == pytest.approx([val] * 4, abs=0.06)
    assert (parts == 1).mean() == pytest.approx(val, abs=0.02)


def test_stratifying_is_nearer_to_the_shares_than_chance() -> None:
    errors = {}
    for stratify in (True, False):
        found = [
            np.abs(shares_of(divide(*scene(seed), [0.8, 0.2], seed=seed, stratify=stratify), scene(seed)[1], 1) - 0.2)
            for seed in range(5)
        ]
        errors[stratify] = float(np.mean(found))
    assert errors[True] < errors[False] / 2


def test_a_seed_gives_one_division_and_another_seed_another() -> None:
    units, counts = scene(0)
    first, again, other = (divide(units, counts, [0.7, 0.2, 0.1], seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert set(first.tolist()) == {0, 1, 2}


def test_images_without_objects_are_parted_too() -> None:
    parts = divide(np.arange(10), np.zeros((10, 3), np.int64), [0.8, 0.2], seed=0)
    assert np.bincount(parts).tolist() == [8, 2]


def test_a_class_of_one_image_stays_in_training() -> None:
    counts = np.eye(10, 2, dtype=np.int64)
    parts = divide(np.arange(10), counts, [0.8, 0.2], seed=0)
    assert parts[:2].tolist() == [0, 0]


def test_a_unit_larger_than_the_validation_stays_in_training() -> None:
    units = np.array([0] * 6 + [1, 2, 3, 4])
    parts = divide(units, np.ones((10, 1), np.int64), [0.8, 0.2], seed=0)
    assert parts[:6].tolist() == [0] * 6
    assert np.bincount(parts).tolist() == [8, 2]
