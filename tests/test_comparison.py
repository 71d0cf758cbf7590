"""Paired comparisons: exact p-values and Holm by hand, intervals by simulation, and what may be said of few seeds."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import comparison, sign_flips
from aevb.comparison import FEWEST, LEVEL, Run, compare, first_reached, holm, seeds_needed
from helpers import rejects

CELL = ("digits", 50, 3, 1500)
SAMPLES = np.array([1e3, 1e4, 1e5])


def run(end, likelihood=None, elbo=None, rise=(-60.0, -40.0), diverged=False, cost=1.0, step_size=0.1):
    bound = np.array([*rise, math.nan if diverged else end])
    value = end + 1 if likelihood is None else likelihood
    elbo = value - 3 if elbo is None else elbo
    return Run(SAMPLES, bound, cost * SAMPLES / 1e4, value, elbo, step_size, diverged)


def runs(ends, **settings):
    return [run(end, **settings) for end in ends]


def table(mine, baseline, **others):
    methods = {"aevb": baseline, "mine": mine, **others}
    return compare({(*CELL, name): list(of) for name, of in methods.items()}, "aevb")


def row(frame, metric="bound", estimator="mine"):
    [found] = frame[(frame["metric"] == metric) & (frame["estimator"] == estimator)].to_dict("records")
    return found


# ------------------------------------------------------------------------------------------------- statistics


def by_enumeration(differences):
    """Every pattern of signs: the share whose mean is as far from zero as the one seen."""
    means = [np.mean(signs * differences) for signs in itertools.product([1, -1], repeat=len(differences))]
    return np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)


def check_sign_flip(p_value):
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.4, 1, size=8)
        assert p_value(differences) == pytest.approx(by_enumeration(differences))


def test_the_p_value_is_that_of_all_sign_patterns():
    check_sign_flip(sign_flips.p_value)
    rejects(
        check_sign_flip,
        lambda d: sign_flips.p_value(d) / 2,
        lambda d: stats.ttest_1samp(d, 0).pvalue,
        lambda d: stats.wilcoxon(d).pvalue,
    )


def check_interval(interval):
    """Of 4000 sets of 12 differences, of one of two shapes, 95 % of the intervals hold the mean, within four standard
    errors."""
    draws = np.random.default_rng(0)
    for centred in (draws.standard_normal((4000, 12)), draws.standard_t(2, (4000, 12))):
        found = [interval(differences) for differences in centred + 2]
        held = np.mean([one["ci_low"] <= 2.0 <= one["ci_high"] for one in found])
        assert abs(held - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def bootstrapped(differences):
    means = np.random.default_rng(0).choice(differences, (400, len(differences))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"ci_low": low, "ci_high": high}


def of_values(differences):
    spread = 1.96 * differences.std(ddof=1)
    return {"ci_low": differences.mean() - spread, "ci_high": differences.mean() + spread}


def test_the_interval_holds_the_mean():
    check_interval(comparison.mean_and_interval)
    rejects(check_interval, bootstrapped, of_values)


def check_interval_and_p_value(interval):
    """A centre lies in the interval where, and only where, sign flips about it are not rejected."""
    for seed, n in itertools.product(range(3), (6, 8, 12, 20)):
        differences = np.random.default_rng(seed).gamma(2.0, size=n)
        found = interval(differences)
        for centre in np.linspace(differences.min() - 0.1, differences.max() + 0.1, 23):
            inside = found["ci_low"] <= centre <= found["ci_high"]
            assert inside == (sign_flips.p_value(differences - centre) > LEVEL)


def test_the_interval_and_the_p_value_never_contradict_each_other():
    check_interval_and_p_value(comparison.mean_and_interval)
    rejects(check_interval_and_p_value, bootstrapped, of_values)


def test_above_16_differences_random_subsets_stand_for_all(monkeypatch):
    differences = np.random.default_rng(0).normal(size=14)
    exact = comparison.mean_and_interval(differences)
    monkeypatch.setattr(sign_flips, "EXACT", 2**13)
    assert comparison.mean_and_interval(differences) == pytest.approx(exact, abs=0.05)


def test_of_few_differences_no_centre_can_be_left_out():
    same = comparison.mean_and_interval(np.full(FEWEST, 0.25))
    assert same == {"difference": 0.25, "ci_low": 0.25, "ci_high": 0.25}
    few = comparison.mean_and_interval(np.full(FEWEST - 1, 0.25))
    assert few["difference"] == 0.25
    assert math.isnan(few["ci_low"])
    assert math.isnan(few["ci_high"])


def test_holm_steps_down_and_leaves_out_what_was_not_tested():
    """By hand: sorted .01 .02 .03 .5 times 4 3 2 1, never falling, at most 1."""
    adjusted = holm([0.02, np.nan, 0.5, 0.01, 0.03])
    np.testing.assert_allclose(adjusted, [0.06, np.nan, 0.5, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    assert np.isnan(holm([np.nan])).all()


@pytest.mark.parametrize("n_tests", [1, 2, 20, 36])
def test_the_seeds_that_a_verdict_needs_are_those_that_can_give_one(n_tests):
    needed = seeds_needed(n_tests)
    assert needed >= FEWEST
    assert 2 / 2**needed * n_tests <= LEVEL
    assert needed == FEWEST or 2 / 2 ** (needed - 1) * n_tests > LEVEL


# ---------------------------------------------------------------------------------------------------- verdicts

NOISE = np.random.default_rng(0).normal(0, 0.3, size=12)


def test_a_method_that_is_ahead_on_every_seed_is_better_and_one_behind_is_worse():
    frame = table(
        runs(-20 + NOISE + 1), runs(-20 + NOISE), worse=runs(-21 + NOISE), same=runs(-20 + NOISE[::-1])
    )
    found = row(frame)
    assert found["difference"] == pytest.approx(1)
    assert found["value"] - found["baseline_value"] == pytest.approx(1)
    assert found["p_value"] == pytest.approx(2 / 2**12)
    assert found["verdict"] == "better"
    assert row(frame, "log_likelihood")["verdict"] == "better"
    assert row(frame, estimator="worse")["verdict"] == "worse"
    assert row(frame, estimator="same")["verdict"] == "no difference shown"


def test_seeds_are_paired():
    """Runs that differ by nats between seeds and by hundredths within one."""
    spread = np.linspace(-5, 5, 12)
    shifted = runs(-20 + spread + 0.02 + 0.001 * NOISE)
    assert row(table(shifted, runs(-20 + spread)))["verdict"] == "better"
    assert row(table(shifted[::-1], runs(-20 + spread)))["verdict"] == "no difference shown"


@pytest.mark.parametrize("n_seeds", [1, 2, 5])
def test_few_seeds_get_no_verdict_however_clear(n_seeds):
    frame = table(runs(np.full(n_seeds, -10.0)), runs(np.full(n_seeds, -20.0)))
    assert row(frame)["verdict"] == f"too few seeds: {n_seeds}, and a verdict needs {FEWEST}"
    assert math.isnan(row(frame)["p_value"])
    assert row(frame)["difference"] == pytest.approx(10)


def test_seeds_that_cannot_pass_the_family_are_too_few_as_well():
    ends = -20 + NOISE[:7]
    others = {f"m{n}": runs(ends + n) for n in range(1, 9)}
    frame = table(runs(ends + 9), runs(ends), **others)
    assert row(frame)["verdict"] == "too few seeds: 7, and a verdict among 18 tests needs 10"


def test_the_family_is_every_test_of_the_table():
    frame = table(runs(-20 + NOISE + 1), runs(-20 + NOISE), same=runs(-20 + NOISE[::-1]))
    tested = frame["p_value"].notna()
    assert tested.sum() == 4  # two methods, two metrics
    np.testing.assert_allclose(frame["p_adjusted"], holm(frame["p_value"]))
    assert set(frame.loc[~tested, "metric"]) == {"gap", "samples", "seconds"}


@pytest.mark.parametrize("who", ["mine", "aevb"])
def test_a_diverged_seed_is_named_and_never_averaged(who):
    well, ill = runs(-20 + NOISE), [*runs(-20 + NOISE[:-1]), run(-20, diverged=True)]
    frame = table(ill, well) if who == "mine" else table(well, ill)
    for metric in comparison.METRICS:
        found = row(frame, metric)
        assert found["verdict"] == ("" if who == "mine" else "baseline ") + "diverged: 1 of 12 seeds"
        assert math.isnan(found["difference"])
        assert math.isnan(found["p_value"])


def test_a_refused_likelihood_leaves_the_bound_alone():
    refused = [*runs(-20 + NOISE[:-1] + 1), run(-19 + NOISE[-1], math.nan)]
    frame = table(refused, runs(-20 + NOISE))
    assert row(frame)["verdict"] == "better"
    for metric in ("log_likelihood", "gap"):
        assert row(frame, metric)["verdict"] == "no value: log p(x) refused for 1 of 12 seeds"


def test_the_gap_is_of_the_points_of_log_likelihood_and_not_tested():
    """A model 2 nats better and an encoder 1.5 nats worse; the bound of other, easier points has no part in it."""
    mine = [run(100.0, likelihood=-18 + noise, elbo=-22.5 + noise) for noise in NOISE]
    baseline = [run(50.0, likelihood=-20 + noise, elbo=-23 + 2 * noise) for noise in NOISE]
    found = row(table(mine, baseline), "gap")
    assert found["value"] == pytest.approx(4.5)
    assert found["baseline_value"] == pytest.approx(3 - NOISE.mean())
    assert found["difference"] == pytest.approx(1.5 + NOISE.mean())
    assert found["ci_low"] < found["difference"] < found["ci_high"]
    assert math.isnan(found["p_value"])
    assert found["verdict"] == ""


def test_a_row_has_the_step_size_of_both_methods():
    found = table(runs(-20 + NOISE, step_size=0.02), runs(-20 + NOISE))
    assert set(found["step_size"]) == {0.02}
    assert set(found["baseline_step_size"]) == {0.1}


def test_a_method_without_a_bound_is_compared_by_its_likelihood():
    nothing = np.array([])
    mcem = [Run(nothing, nothing, nothing, -18 + noise, math.nan, 0.1, False) for noise in NOISE]
    frame = table(mcem, runs(-20 + NOISE))
    for metric in ("bound", "gap"):
        assert row(frame, metric)["verdict"] == "no value: the method has no bound"
    assert row(frame, "log_likelihood")["verdict"] == "better"


# ------------------------------------------------------------------------------------------- reaching a bound


def test_a_bound_is_reached_where_the_line_between_reports_crosses_it():
    one = run(-20.0)
    assert first_reached(one, -30.0, "samples") == pytest.approx(1e4 + 0.5 * 9e4)
    assert first_reached(one, -20.0, "samples") == 1e5
    assert first_reached(one, -40.0, "seconds") == pytest.approx(1.0)
    assert first_reached(one, -60.0, "samples") == 1e3


@pytest.mark.parametrize("fallen", [-99.0, -60.5])
def test_what_was_reached_before_the_first_report_is_not_known(fallen):
    """A run that ends below where both began says nothing of their pace."""
    assert math.isnan(first_reached(run(-20.0), fallen, "samples"))
    frame = table([*runs(-20 + NOISE[:-1]), run(fallen)], runs(-20 + NOISE))
    for metric in ("samples", "seconds"):
        assert row(frame, metric)["verdict"] == "no value: reached before the first report by 1 of 12 seeds"
        assert math.isnan(row(frame, metric)["difference"])
    assert row(frame)["n_seeds"] == 12
    assert not math.isnan(row(frame)["difference"])


def test_what_it_takes_is_the_ratio_to_the_worse_of_the_two_ends():
    """The baseline ends at -30, which the method passes at 5.5e4; its seconds cost twice as much."""
    frame = table(runs(np.full(12, -20.0), cost=2), runs(np.full(12, -30.0)))
    assert row(frame, "samples")["difference"] == pytest.approx(0.55)
    assert row(frame, "seconds")["difference"] == pytest.approx(1.1)
    assert row(frame, "samples")["baseline_value"] == pytest.approx(1e5)
    assert row(frame, "samples")["unit"] == "times"
    turned = table(runs(np.full(12, -30.0)), runs(np.full(12, -20.0), cost=2))
    assert row(turned, "samples")["difference"] == pytest.approx(1 / 0.55)


def test_the_table_has_its_columns_and_a_row_per_method_and_metric():
    frame = table(runs(-20 + NOISE), runs(-20 + NOISE), other=runs(-20 + NOISE))
    assert list(frame) == comparison.COLUMNS
    assert len(frame) == 2 * len(comparison.METRICS)
    assert isinstance(frame, pd.DataFrame)


def test_a_row_is_said_in_words():
    frame = table(runs(-20 + NOISE + 1), runs(-20 + NOISE))
    said = comparison.in_words(frame[frame["metric"] == "bound"].iloc[0])
    assert said.startswith("digits, bound: mine - aevb = +1.00 [")
    assert said.endswith("nats, 12 seeds: better")
    gap = comparison.in_words(frame[frame["metric"] == "gap"].iloc[0])
    assert gap == "digits, gap: mine - aevb = +0.00 [0.00, 0.00] nats, 12 seeds"
    four = comparison.in_words(table(runs(-20 + NOISE[:4] + 1), runs(-20 + NOISE[:4])).iloc[0])
    assert four.startswith("digits, bound: mine - aevb = +1.00 nats, 4 seeds: too few seeds")
    few = table([run(-20, diverged=True)], runs([-20.0]))
    assert comparison.in_words(few.iloc[0]) == "digits, bound: mine - aevb: diverged: 1 of 1 seeds"
