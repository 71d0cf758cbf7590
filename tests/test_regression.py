"""regression.py and nights.py: p-values by enumeration, the rules of the stages, and how often they are wrong."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import nights, references, regression
from aevb.regression import ALPHA, FAIL, INCONCLUSIVE, OPEN, PASS, STALE, judge, margin, p_of_drop, p_of_rise
from helpers import rejects

REFERENCE = np.linspace(-1, 1, 21)


# ------------------------------------------------------------------------------------------------- one test


def by_enumeration(values, reference, margin):
    """The share of all ways to name n of the n + m numbers `values` whose ranks sum to as little."""
    pooled = np.concatenate([values + margin, reference])
    ranks = stats.rankdata(pooled)
    seen = ranks[: len(values)].sum()
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, len(values))]
    return np.mean(np.array(sums) <= seen + 1e-9)


def check_p_value(p_value):
    for seed in range(6):
        generator = np.random.default_rng(seed)
        values, reference = generator.normal(-1, 1, 3), generator.normal(0, 1, 7)
        assert p_value(values, reference, 0.3) == pytest.approx(by_enumeration(values, reference, 0.3))


def test_the_p_value_is_that_of_all_rankings():
    check_p_value(p_of_drop)
    rejects(
        check_p_value,
        p_of_rise,
        lambda values, reference, margin: p_of_drop(values, reference, 0.0),
        lambda values, reference, margin: p_of_drop(values, reference, -margin),
        lambda values, reference, margin: (
            stats.ttest_ind(values + margin, reference, alternative="less").pvalue
        ),
        lambda values, reference, margin: 2 * p_of_drop(values, reference, margin),
    )


def test_a_rise_is_a_drop_upside_down():
    values = np.array([0.4, 1.3, 2.0])
    assert p_of_rise(values, REFERENCE, 0.2) == p_of_drop(-values, -REFERENCE, 0.2)


def test_many_tests_at_once_are_each_by_itself():
    generator = np.random.default_rng(0)
    values, reference, care = (
        generator.normal(size=(4, 5, 3)),
        generator.normal(size=(4, 5, 9)),
        generator.random((4, 5)),
    )
    together = p_of_drop(values, reference, care)
    for place in np.ndindex(4, 5):
        assert together[place] == p_of_drop(values[place], reference[place], care[place])


def test_each_stage_of_each_test_has_its_share():
    assert regression.level(36) == pytest.approx(0.01 / (36 * 3))


def test_a_drop_of_exactly_the_margin_is_none():
    for base in np.round(np.random.default_rng(0).normal(-100, 10, 50), 4):
        assert p_of_drop(np.full(3, np.round(base - 0.1, 4)), np.full(9, base), 0.1) > 0.4


def test_the_margin_is_a_tenth_of_a_nat_or_a_quarter_of_the_spread():
    assert margin(np.array([1.0, 1.001, 0.999])) == 0.1
    assert margin(np.array([0.0, 10.0, 20.0])) == pytest.approx(2.5)


def test_a_stage_can_fail_only_where_its_smallest_p_value_reaches_the_level():
    for n_reference, n_tests in ((21, 1), (21, 36), (12, 52), (6, 40), (3, 40)):
        smallest = {n: 1 / math.comb(n + n_reference, n) for n in (3, 6, 12)}
        can = [n for n, p in smallest.items() if p <= ALPHA / (3 * n_tests)]
        assert regression.fewest_seeds(n_reference, n_tests) == (min(can) if can else None)


# ------------------------------------------------------------------------------------------------- verdicts


def verdict(values, n_tests=30):
    return judge(np.asarray(values, dtype=float), REFERENCE, 0.2, n_tests).verdict


def test_seeds_like_the_reference_pass_at_the_first_stage():
    assert verdict([-0.8, 0.1, 0.7]) == PASS


def test_a_drop_within_the_margin_passes():
    assert verdict(REFERENCE[[2, 10, 18]] - 0.15) == PASS


def test_a_clear_drop_needs_as_many_seeds_as_the_family_is_large():
    assert verdict([-9, -8, -7], n_tests=5) == FAIL
    assert verdict([-9, -8, -7]) == OPEN
    assert verdict([-9, -8, -7, -6, -5, -4]) == FAIL


def test_a_clear_rise_is_a_stale_reference():
    judgement = judge(np.array([9.0, 8, 7, 6, 5, 4]), REFERENCE, 0.2, 30)
    assert (judgement.verdict, "leaks" in judgement.reason) == (STALE, True)


def test_a_doubt_that_twelve_seeds_leave_is_said():
    values = np.concatenate([np.linspace(-3, -0.6, 10), [0.2, 0.8]])
    judgement = judge(values, REFERENCE, 0.2, 5)
    assert ALPHA / 15 < judgement.p_drop < 0.05 / 15
    assert (judgement.verdict, "12 seeds" in judgement.reason) == (INCONCLUSIVE, True)


# ------------------------------------------------------------------------------------------------- nights


def shared_out_to_none(values, reference):
    """Every test at the level of all."""
    by_test = [nights.sequential(values[:, [n]], reference[:, [n]]) for n in range(values.shape[1])]
    return nights.Night(*(np.concatenate(field, 1) for field in zip(*by_test, strict=True)))


@pytest.mark.parametrize("noise", nights.NOISES.values(), ids=nights.NOISES)
def test_false_alarms_are_at_most_one_and_a_half_times_nominal(noise):
    def check(gate):
        night = nights.simulate(noise, 2_000, 36, 21, gate=gate)
        rate = night.failed.any(1).mean()
        assert rate <= 1.5 * ALPHA, rate

    check(nights.sequential)
    rejects(check, nights.two_sd, shared_out_to_none)


@pytest.mark.parametrize("noise", nights.NOISES.values(), ids=nights.NOISES)
def test_on_the_margin_itself_the_alarms_are_those_that_an_estimated_margin_allows(noise):
    """Every test sits where the null hypothesis ends: without the margin's own error it would be ALPHA at most."""

    def check(gate):
        night = nights.simulate(noise, 3_000, 36, 21, all_shifted=0.25, gate=gate)
        assert night.failed.any(1).mean() <= 2 * ALPHA

    check(nights.sequential)
    rejects(check, nights.two_sd, shared_out_to_none)


def test_what_has_dropped_by_three_standard_deviations_is_named():
    night = nights.simulate(nights.normal, 1_000, 36, 21, nights.shifted(3.0))
    assert night.failed[:, 0].mean() > 0.97
    unchanged = nights.simulate(nights.normal, 1_000, 36, 21)
    assert unchanged.failed[:, 0].mean() < 0.01


def test_a_diverged_seed_always_fails():
    night = nights.simulate(nights.normal, 200, 36, 21, nights.one_diverged)
    assert night.failed[:, 0].all()
    assert not night.too_good[:, 0].any()


def test_the_simulation_decides_as_the_gate_does():
    generator = np.random.default_rng(1)
    values, reference = generator.normal(-1.2, 1.5, (40, 3, 12)), generator.normal(size=(40, 3, 21))
    night = nights.sequential(values, reference)
    for place in np.ndindex(40, 3):
        care = 0.25 * reference[place].std(ddof=1)
        for n in (3, 6, 12):
            said = judge(values[place][:n], reference[place], care, 3).verdict
            if said != OPEN:
                break
        assert (said == FAIL, said == STALE, said == INCONCLUSIVE, n) == tuple(
            field[place] for field in night
        )


def test_noise_has_unit_spread_and_no_mean():
    for noise in nights.NOISES.values():
        values = noise(np.random.default_rng(0), (400_000,))
        assert values.mean() == pytest.approx(0, abs=0.01)
        assert np.median(np.abs(values)) < 1.2
    for noise in (nights.normal, nights.bimodal):  # the fourth moment of t3 is infinite
        assert noise(np.random.default_rng(0), (400_000,)).std() == pytest.approx(1, abs=0.01)


def test_the_published_table_is_of_ten_thousand_nights_and_keeps_the_promise():
    published = pd.read_csv(Path(__file__).parents[1] / "results/reference/gate_nights.csv")
    unchanged = published[published["case"] == "nothing has changed"]
    assert (published["nights"] == 10_000).all()
    assert len(unchanged) == 9
    assert (unchanged["false_alarm"] <= 1.5 * ALPHA).all()


def test_the_pages_say_which_drops_the_nightly_names():
    """Its references have six seeds; four margins are a standard deviation where it is not below 0.4 nats."""
    root = Path(__file__).parents[1]
    page, readme = (
        " ".join((root / name).read_text(encoding="utf-8").split())
        for name in ("docs/regression.md", "README.md")
    )
    published = pd.read_csv(root / "results/reference/gate_nights.csv")
    named = published[published["reference_seeds"] == 6].groupby("case")["named"].agg(["min", "max"]) * 100
    three, five = (
        "{min:.0f} to {max:.0f} %".format(**named.loc[f"one test is down by {n} sd"]) for n in (3, 5)
    )
    assert f"a drop of 3 sd is named in {three} of nights and one of 5 sd in {five}" in page
    assert (
        f"five standard deviations between seeds in {five} of 10 000 nights, and one of three in {three}"
        in readme
    )

    def deviations(cells):
        file = root / f"results/reference/{cells.partition('/')[0]}_laptop.json"
        margins = references.read(file).margins.items()
        found = [4 * tests["test bound"] for path, tests in margins if path.startswith(cells)]
        return min(found), max(found)

    faces = deviations("frey/aevb")
    wide, asleep = deviations("mnist/aevb/h500"), deviations("mnist/wake_sleep/h500")
    worst = deviations("frey/wake_sleep")[1]
    said = (
        "{:.1f} to {:.1f} nats for AEVB with 500 hidden units, {:.1f} to {:.0f} for wake-sleep; on Frey Face "
    )
    said += "{:.0f} to {:.0f} for AEVB, and up to {:.0f} for wake-sleep"
    assert said.format(*wide, *asleep, *faces, worst) in page
