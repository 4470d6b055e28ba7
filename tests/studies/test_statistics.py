"""Statistics against hand-worked and independent values."""

import math

import numpy as np
import pytest
from scipy import stats

from deta.studies.results import Interval, Verdict
from deta.studies.statistics import compare, draw_images, percentile_interval, summarize, t_interval


def test_mean_and_deviation_of_a_sample() -> None:
    summary = summarize([1.0, 2.0, 3.0, 6.0])
    assert summary.mean == 3.0
    assert summary.std == pytest.approx(math.sqrt(14 / 3))  # squares 4, 1, 0, 9 over n - 1
    assert summary.num_seeds == 4


def test_one_value_has_no_deviation_and_no_interval() -> None:
    assert summarize([0.5]).std is None
    assert t_interval([0.5]) is None
    with pytest.raises(ValueError, match="values must hold at least one number"):
        summarize([])


def test_interval_of_three_values_with_the_tabled_quantile() -> None:
    """Mean 2, deviation 1, and 4.303 for two degrees of freedom in every table of Student's t."""
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval is not None
    assert interval.low == pytest.approx(2 - 4.303 / math.sqrt(3), abs=1e-3)  # the table has three decimals
    assert interval.high == pytest.approx(2 + 4.303 / math.sqrt(3), abs=1e-3)


def test_the_interval_is_where_the_paired_test_turns() -> None:
    first, second = np.array([0.31, 0.33, 0.29, 0.34]), np.array([0.30, 0.31, 0.29, 0.31])
    interval = t_interval(list(first - second))
    independent = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((independent.low, independent.high))


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ({0: 0.010, 1: 0.012, 2: 0.011}, Verdict.BETTER),
        ({0: -0.010, 1: -0.012, 2: -0.011}, Verdict.WORSE),
        ({0: 0.010, 1: -0.002, 2: 0.004}, Verdict.NOISE),
        ({0: 0.1}, Verdict.UNKNOWN),
        ({0: 0.0, 1: 0.0}, Verdict.SAME),
        ({0: 0.0}, Verdict.SAME),
        ({0: 0.0, 1: 0.01}, Verdict.NOISE),
        ({0: 0.01, 1: 0.01}, Verdict.BETTER),  # no spread at all
    ],
)
def test_verdicts(pairs: dict[int, float], verdict: Verdict) -> None:
    difference = compare(pairs, Interval(-1, 1))
    assert difference.verdict == verdict
    assert difference.mean == pytest.approx(sum(pairs.values()) / len(pairs))
    assert difference.pairs == pairs
    assert difference.over_images == Interval(-1, 1)


def test_draws_are_as_large_as_the_whole_and_the_same_for_every_model() -> None:
    draws = draw_images(20, 500)
    assert draws.shape == (500, 20)
    assert (draws.sum(axis=1) == 20).all()
    assert np.array_equal(draws, draw_images(20, 500))
    assert not np.array_equal(draws, draw_images(20, 500, seed=1))
    share_drawn = (draws > 0).mean()
    assert share_drawn == pytest.approx(1 - (1 - 1 / 20) ** 20, abs=0.01)  # about three standard errors


def test_the_middle_part_of_samples() -> None:
    interval = percentile_interval(np.arange(1001) / 1000)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
    assert percentile_interval(np.array([np.nan, 0.5, 0.5])) == Interval(0.5, 0.5)
    assert percentile_interval(np.array([np.nan])) is None
