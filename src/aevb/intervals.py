"""The 95 % t-interval of a mean (Student 1908), and that of one more value."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def of_mean(values: ArrayLike) -> tuple[float, float, float]:
    """The mean of the values and the ends of its interval: NaN for a single value, and where one is NaN."""
    known = np.asarray(values, float)
    mean, spread = known.mean(), known.std(ddof=1) if len(known) > 1 else np.nan
    half = half_width(spread, len(known)).item()
    return float(mean), float(mean - half), float(mean + half)


def half_width(spread: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Half the interval's width: n values with standard deviation `spread`; NaN for a single one."""
    freedom = np.asarray(n) - 1
    width = stats.t.ppf(0.975, np.maximum(freedom, 1)) * np.asarray(spread) / np.sqrt(n)
    return np.where(freedom > 0, width, np.nan)


def of_one_more(half: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Half the width of the interval, around the mean of n values, in which one more such value lies in 95 of 100
    cases (a prediction interval): t s sqrt(1 + 1/n), where half, that of the mean, is t s / sqrt(n)."""
    return np.asarray(half) * np.sqrt(np.asarray(n) + 1)
