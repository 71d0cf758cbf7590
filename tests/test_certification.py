"""Verdicts on estimators of log p(x): made-up errors of known size, and what must not be said of them."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from scipy import stats

import certified
from aevb import UserError, forest, trees
from aevb.certification import (
    CLOSED,
    COLUMNS,
    LEVEL,
    MARGIN,
    against,
    among_all,
    between,
    pooled,
    require,
    simulate,
)
from aevb.evidence import Evidence, Refusal
from aevb.experiments import AS_PUBLISHED, CERTIFIED
from aevb.jobs import certify
from aevb.models import BernoulliModel, GaussianModel
from helpers import assert_mean, generator, randn, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")

REFERENCES = Path(__file__).parents[1] / "results/reference"
TRUTH = randn(400, seed=1).double() - 100


def estimates(bias=0.0, spread=0.05, refused=0, seed=2):
    """400 estimates whose errors have exactly this mean and standard deviation."""
    noise = randn(400, seed=seed).double()
    return drawn(bias, spread, (noise - noise.mean()) / noise.std(), refused)


def drawn(bias, spread, noise, refused=0):
    value = (TRUTH + bias + spread * noise)[None]
    refusal = torch.zeros_like(value)
    refusal[0, :refused] = Refusal.HEAVY_TAIL
    fields = dict.fromkeys(Evidence._fields, torch.full_like(value, 0.5))
    return Evidence(
        **fields | {"estimate": value, "std_error": torch.full_like(value, spread), "refusal": refusal}
    )


def test_the_mean_error_has_its_interval():
    row = against(estimates(bias=0.3, spread=0.1), TRUTH, "upper")
    assert row["std_error"] == pytest.approx(0.1 / 20)
    assert row["ci_low"] < 0.3 < row["ci_high"]
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * 1.966 * row["std_error"], rel=1e-3)
    assert row["rms_error"] == pytest.approx(math.hypot(0.3, 0.1), rel=0.01)
    assert row["claimed_error"] == pytest.approx(0.1)
    assert row["share_on_side"] > 0.99


@pytest.mark.parametrize(
    ("bias", "spread", "direction", "verdict"),
    [
        (0.0, 0.05, "upper", "accurate"),
        (0.0, 0.05, "exact", "accurate"),
        (0.008, 0.05, "lower", "accurate"),  # on the wrong side by less than anyone cares
        (0.2, 0.5, "upper", "too high, as documented"),
        (-0.2, 0.5, "lower", "too low, as documented"),
        (0.2, 0.5, "lower", "wrong"),
        (-0.2, 0.5, "upper", "wrong"),
        (0.2, 0.5, "exact", "wrong"),
        (0.0, 1.0, "upper", "undecided: more points are needed"),
        (MARGIN, 0.05, "lower", "wrong"),  # its interval reaches beyond the margin and is above zero
    ],
)
def test_an_estimator_gets_its_verdict(bias, spread, direction, verdict):
    assert against(estimates(bias, spread), TRUTH, direction)["verdict"] == verdict


def a_table(n, bias):
    """n rows of 400 points each, of right estimators but the first, whose mean error is `bias` standard errors."""
    source = generator(3)
    rows = []
    for k in range(n):
        noise = torch.randn(400, generator=source)
        noise = (noise - noise.mean()) / noise.std() + bias / 20 if k == 0 else noise
        rows.append(
            {"evidence_estimator": f"{k}"} | against(drawn(0.0, 1.0, noise, int(k == 0)), TRUTH, "exact")
        )
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def check_wrong_is_said_of_the_whole_table(adjust):
    """Of 200 right estimators some are off by two standard errors; one that is off by five is found among them."""
    assert not adjust(a_table(200, 0.0))["verdict"].str.startswith("wrong").any()
    found = adjust(a_table(200, 5.0))["verdict"]
    assert found[0] == "wrong; 1 of 400 points refused"
    assert not found[1:].str.startswith("wrong").any()


def test_wrong_is_said_of_the_whole_table():
    check_wrong_is_said_of_the_whole_table(among_all)
    rejects(
        check_wrong_is_said_of_the_whole_table,
        lambda table: table,
        lambda table: table.assign(verdict="undecided"),
    )


def test_the_level_is_shared_by_all_rows_alike():
    """The first of a hundred rows, with a p-value just below and just above a hundredth of LEVEL."""
    row = {"std_error": 1.0, "n_points": 30, "verdict": "wrong"}
    for factor, verdict in ((0.98, "wrong"), (1.02, "undecided: more points are needed")):
        found = stats.t.isf(factor * LEVEL / 100 / 2, 29)
        table = pd.DataFrame([row | {"bias": -found}, *99 * [row | {"bias": 0.0}]])
        assert among_all(table)["verdict"].tolist() == [verdict, *99 * ["undecided: more points are needed"]]


def test_a_verdict_that_is_taken_back_keeps_its_refusals_and_the_others_stay():
    table = a_table(30, 2.5)
    assert table["verdict"][0] == "wrong; 1 of 400 points refused"
    assert among_all(table)["verdict"][0] == "undecided: more points are needed; 1 of 400 points refused"
    known = pd.DataFrame([against(estimates(b, s), TRUTH, "lower") for b, s in ((0.0, 0.05), (-0.2, 0.5))])
    pd.testing.assert_frame_equal(among_all(known), known)


def test_a_wrong_estimator_is_named_and_ends_the_job(tmp_path):
    a_table(3, 5.0).assign(problem="test points", n_latent=3).to_csv(tmp_path / "certification.csv")
    output = tmp_path / "certified.txt"
    with pytest.raises(UserError, match=r"0, test points, 3: \+0\.250 nats \[0\.15\d, 0\.34\d\]"):
        certify.certified(tmp_path / "certification.csv", output)
    assert not output.exists()
    a_table(3, 0.0).to_csv(tmp_path / "certification.csv")
    certify.certified(tmp_path / "certification.csv", output)
    assert output.read_text() == "None of 3 rows calls an estimator of log p(x) wrong.\n"


def test_of_what_is_committed_the_certified_estimator_is_accurate_and_none_is_wrong():
    """`snakemake certify` at laptop scale: probabilistic PCA, ten trained decoders and all of these together."""
    table = pd.read_csv(REFERENCES / "certification_laptop.csv")
    require(table)
    exact = table[
        (table["evidence_estimator"] == CERTIFIED) & table["reference"].isin(["exact", "quadrature"])
    ]
    assert len(exact) == 13
    assert (exact["bias"].abs() < MARGIN).all()
    # an interval of MCEM's, whose decoder has hard points, reaches 0.023
    assert exact["verdict"].str.startswith("accurate").sum() >= 12


def test_the_readme_has_the_table_and_says_what_the_density_adds():
    readme = (REFERENCES.parents[1] / "README.md").read_text(encoding="utf-8")
    table = pd.read_csv(REFERENCES / "certification_laptop.csv")
    assert certified.page(table) in readme
    rows = table[table["problem"] == "all decoders"].set_index("evidence_estimator")
    assert f"The kernel density itself adds {rows.loc[AS_PUBLISHED, 'bias']:.2f} nats." in readme
    assert rows.loc[CERTIFIED, "share_within_errors"] > 0.9  # of 1000, within two errors that it reports


def check_says_accurate_of_the_accurate_alone(verdict_of):
    """Over many repetitions: at the margin itself an equivalence test errs in 2.5 % of cases."""
    n = 200
    wrong = sum(verdict_of(MARGIN, seed).startswith("accurate") for seed in range(n))
    right = sum(verdict_of(0.0, seed).startswith("accurate") for seed in range(n))
    # binomial(200, .025) exceeds 21 with probability 1e-8
    assert wrong <= 21
    assert right == n


def test_accurate_is_an_equivalence_test():
    def row(bias, seed, spread=0.05):
        return against(drawn(bias, spread, randn(400, seed=seed).double()), TRUTH, "exact")

    check_says_accurate_of_the_accurate_alone(lambda bias, seed: row(bias, seed)["verdict"])

    def point_estimate(bias, seed):
        return "accurate" if abs(row(bias, seed)["bias"]) <= MARGIN else ""

    def no_difference_found(bias, seed):
        found = row(bias, seed, spread=1.0)
        return "accurate" if found["ci_low"] < 0 < found["ci_high"] else ""

    rejects(check_says_accurate_of_the_accurate_alone, point_estimate, no_difference_found)


def test_refused_points_are_counted_and_named():
    row = against(estimates(refused=3), TRUTH, "lower")
    assert row["n_refused"] == 3
    assert row["verdict"] == "accurate; 3 of 400 points refused"


def test_a_point_without_a_value_leaves_no_mean_of_the_others():
    value = estimates()
    value.estimate[0, 7] = math.nan
    assert against(value, TRUTH, "upper")["verdict"] == "no value"
    assert math.isnan(against(value, TRUTH, "upper")["bias"])
    assert between(value, estimates())["verdict"] == "no value"


def test_bounds_from_both_sides_close_stay_open_or_cross():
    assert between(estimates(-0.03), estimates(0.03, seed=3))["verdict"] == f"closed to {CLOSED:g} nats"
    assert between(estimates(-0.3), estimates(0.3, seed=3))["verdict"] == "open by 0.6 nats"
    assert between(estimates(0.3), estimates(-0.3, seed=3))["verdict"] == "wrong: the bounds cross"
    row = between(estimates(-0.3), estimates(0.3, seed=3))
    assert row["bias"] == pytest.approx(-0.6, abs=0.02)
    assert row["share_on_side"] == 1.0


def test_the_share_on_the_documented_side_forgives_two_standard_errors():
    row = between(estimates(), estimates(seed=3))
    assert 0.4 < row["share_on_side"] < 0.6
    assert row["share_within_errors"] > 0.93


def test_problems_are_pooled_as_if_their_points_were_one_sample():
    whole = estimates(bias=0.05, spread=0.3, refused=2)
    halves = [Evidence(*(field[:, rows] for field in whole)) for rows in (slice(0, 100), slice(100, 400))]
    truths = TRUTH.split([100, 300])
    rows = [
        {"evidence_estimator": "annealed", "seconds_per_point": 1.0} | against(half, truth, "upper")
        for half, truth in zip(halves, truths, strict=True)
    ]
    [row] = pooled(pd.DataFrame(rows)).to_dict("records")
    one = against(whole, TRUTH, "upper")
    for name in ("bias", "n_points", "n_refused", "rms_error", "claimed_error", "share_on_side"):
        assert row[name] == pytest.approx(one[name])
    assert row["std_error"] == pytest.approx(one["std_error"], rel=0.02)
    assert row["verdict"] == one["verdict"]


@pytest.mark.parametrize("model", [BernoulliModel(6, 5, 2), GaussianModel(6, 5, 2, -6.0)])
def test_simulated_points_are_draws_of_the_model(model):
    """E x = E mean(x | z) over the same z, and pixels are not clipped."""
    theta = scramble(trees.stack([model.init(generator(0))]), seed=1).theta
    z, x = simulate(model, theta, 20_000, generator(4))
    assert z.shape == (1, 20_000, 2)
    assert_mean(z[0], 0.0)
    assert_mean(z[0].square(), 1.0)
    assert_mean(x[0] - model.decode(theta, z.unsqueeze(1)).mean[0, 0], 0.0)
    if isinstance(model, GaussianModel):
        assert x.min() < 0
        assert x.max() > 1
    else:
        assert set(x.unique().tolist()) == {0.0, 1.0}


def test_without_annealing_there_is_nothing_on_simulated_points():
    model = BernoulliModel(6, 5, 2)
    params = trees.stack([model.init(generator(0))])
    settings = {"importance": {"draws": 10}}
    assert list(certify.on_simulated_points(settings, model, params, 3, torch.device("cpu"))) == []
    annealing = settings | {"annealed": {"temperatures": 5, "chains": 2, "leapfrogs": 1}}
    assert len(list(certify.on_simulated_points(annealing, model, params, 3, torch.device("cpu")))) == 1


def test_the_forest_has_a_line_for_every_problem(tmp_path):
    cell = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 100, "n_latent": 3, "n_train": 1000}
    rows = [
        {
            "problem": "probabilistic PCA",
            "reference": "exact",
            "n_latent": 2,
            "evidence_estimator": "annealed",
        }
        | against(estimates(-0.5), TRUTH, "lower"),
        cell
        | {"problem": "test points", "reference": "quadrature", "evidence_estimator": "appendix_d_robust"}
        | against(estimates(), TRUTH, "upper"),
        cell
        | {"problem": "simulated points", "reference": "annealed_reverse", "evidence_estimator": "annealed"}
        | between(estimates(-0.1, refused=2), estimates(0.1)),
    ]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    above, below = forest.certification(table).axes[:2]
    assert [label.get_text() for label in above.get_yticklabels()] == [
        "probabilistic PCA, $N_z$ = 2",
        "MNIST, AEVB, $N_z$ = 3, 100 hidden, $N$ = 1000, test",
    ]
    assert len(below.get_yticklabels()) == 1
    hollow = [line for line in below.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1
