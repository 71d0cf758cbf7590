"""intervals.py against scipy's own interval of a mean, nothing of a single value, and of one more value."""

import numpy as np
from scipy import stats

from aevb.intervals import half_width, of_mean, of_one_more
from helpers import rejects


def check_mean(of_mean):
    values = np.random.default_rng(0).normal(3, size=7)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(of_mean(values), [values.mean(), low, high])
    np.testing.assert_equal(of_mean([2.5]), (2.5, np.nan, np.nan))
    assert np.isnan(of_mean([1.0, 2.0, np.nan])).all()


def test_a_mean_has_the_t_interval_of_its_values():
    check_mean(of_mean)
    rejects(
        check_mean,
        lambda values: of_mean(np.asarray(values)[np.isfinite(values)]),
        lambda values: tuple(-value for value in of_mean(-np.asarray(values))),
        lambda values: (np.median(values), *of_mean(values)[1:]),
    )


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


def check_one_more(of_one_more):
    values = np.random.default_rng(0).normal(3, size=(20_000, 4))
    seen, more = values[:, :3], values[:, 3]
    half = of_one_more(half_width(seen.std(axis=1, ddof=1), 3), 3)
    held = np.abs(more - seen.mean(axis=1)) <= half
    assert abs(held.mean() - 0.95) < 5 * (0.95 * 0.05 / len(held)) ** 0.5


def test_one_more_value_lies_in_its_interval_in_95_of_100_cases():
    check_one_more(of_one_more)
    rejects(check_one_more, lambda half, n: half, lambda half, n: half * n**0.5)
