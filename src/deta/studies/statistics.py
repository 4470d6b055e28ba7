"""Means over seeds, differences paired by seed, and what may be said of them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from deta.studies.results import Difference, Interval, Summary, Verdict

LEVEL = 0.95
"""Confidence of every interval."""


def summarize(values: Sequence[float]) -> Summary:
    """Mean and standard deviation of one metric over seeds.

    Args:
        values: One for each seed, at least one.
    """
    if not values:
        raise ValueError("values must hold at least one number")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(mean=float(np.mean(values)), std=std, num_seeds=len(values))


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of independent, normal values; None below two."""
    count = len(values)
    if count < 2:
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half)


def compare(pairs: Mapping[int, float], over_images: Interval | None = None) -> Difference:
    """Judge differences of equal seeds.

    The verdict goes by the seeds: another training is what a reader would run. A difference is within noise where its
    interval holds zero; without any difference in any seed the two are identical.

    Args:
        pairs: Seed to the cell's metric less the base's, at least one.
        over_images: Interval of the bootstrap over images, kept beside.
    """
    values = list(pairs.values())
    interval = t_interval(values)
    mean = float(np.mean(values))
    if not any(values):
        verdict = Verdict.SAME
    elif interval is None:
        verdict = Verdict.UNKNOWN
    elif 0.0 in interval:
        verdict = Verdict.NOISE
    else:
        verdict = Verdict.BETTER if mean > 0 else Verdict.WORSE
    return Difference(mean=mean, pairs=dict(pairs), over_seeds=interval, over_images=over_images, verdict=verdict)


def draw_images(num_images: int, num_samples: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Samples of images with replacement, each as large as the whole.

    Returns:
        ``[num_samples, num_images]`` how often each sample holds each image.
    """
    generator = np.random.default_rng(seed)
    shares = np.full(num_images, 1 / num_images)
    return generator.multinomial(num_images, shares, size=num_samples).astype(np.int64)


def percentile_interval(samples: NDArray[np.float64]) -> Interval | None:
    """The middle part of bootstrap samples; those that are NaN, without an object, are left out; None if all are."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
