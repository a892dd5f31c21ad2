"""Intervals for means, shares and new draws."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

Interval = tuple[float, float]


def wilson(successes: int, n: int) -> Interval:
    """95 % Wilson score interval of a share, `successes` of `n` trials."""
    interval = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(values: Sequence[float] | np.ndarray) -> Interval:
    """95 % percentile bootstrap interval of the mean of `values` (n,), from 9,999 fixed resamples.

    Where all values are equal the interval is a point, whatever n: read the Wilson interval of the
    share of exact batches beside it.
    """
    values = np.asarray(values, dtype=float)
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def prediction(values: Sequence[float] | np.ndarray) -> Interval:
    """95 % prediction interval for one more draw from where `values` (n ≥ 2,) came: Student's t."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(values.mean() - half), float(values.mean() + half)
