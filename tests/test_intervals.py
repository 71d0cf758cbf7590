"""intervals.py against scipy's own interval of a mean, and nothing of a single value."""

import numpy as np
from scipy import stats

from aevb.intervals import half_width
from helpers import rejects


def check_width(width):
    values = np.random.default_rng(0).normal(size=7)
    spread = values.std(ddof=1)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(width(spread, 7), (high - low) / 2)
    np.testing.assert_allclose(width([spread, spread], [7, 1]), [(high - low) / 2, np.nan])
    assert np.isnan(width(0.0, 1))


def test_the_width_is_that_of_the_t_interval():
    check_width(half_width)
    rejects(
        check_width,
        lambda spread, n: 2 * half_width(spread, n),
        lambda spread, n: 1.96 * np.asarray(spread) / np.sqrt(n),
        lambda spread, n: half_width(spread, np.maximum(n, 2)),
    )
