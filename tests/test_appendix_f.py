"""Full VB beside MAP: differences are paired within seeds, and a refused value stays empty."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import UserError, appendix_f
from aevb.experiments import CERTIFIED

CELL = {"dataset": "digits", "n_hidden": 5, "n_latent": 2}
SEEDS = range(3)
GAIN = np.array([0.1, 0.2, 0.6])  # of full VB on each seed


def bounds(methods=("aevb", "full_vb"), n_train=(20, 40)):
    rows = [
        CELL
        | {"n_train": n, "estimator": method, "seed": seed, "split": split, "samples": samples}
        | {"bound": -30 + 5 * seed + (GAIN[seed] if method == "full_vb" else 0), "seconds": 1.0}
        for n in n_train
        for method in methods
        for seed in SEEDS
        for split in ("train_running", "train", "test")
        for samples in (1e4, 1e5)
    ]
    return pd.DataFrame(rows)


def last(frame):
    return frame[frame["samples"] == 1e5]


def marginal():
    test = last(bounds()).query("split != 'train_running'").rename(columns={"bound": "log_likelihood"})
    certified = test.assign(evidence_estimator=CERTIFIED, log_likelihood=test["log_likelihood"] + 1)
    return pd.concat([certified, test.assign(evidence_estimator="annealed", log_likelihood=0.0)])


def test_differences_are_paired_and_have_the_t_interval_over_seeds():
    table = appendix_f.table(last(bounds()), marginal())
    assert list(table["quantity"]) == [*appendix_f.QUANTITIES.values()] * 2
    half = stats.t.ppf(0.975, 2) * GAIN.std(ddof=1) / math.sqrt(3)
    np.testing.assert_allclose(table["difference"], GAIN.mean())
    np.testing.assert_allclose(table["ci_high"] - table["ci_low"], 2 * half)
    np.testing.assert_allclose(table.loc[table["quantity"] == "ELBO on test points", "aevb"], -25)
    np.testing.assert_allclose(table.loc[table["quantity"] == "log p(x) of test points", "aevb"], -24)


def test_log_p_is_read_where_the_bounds_end_although_one_method_was_trained_further():
    evidence = marginal()
    further = evidence.query("estimator == 'aevb'").assign(samples=6.3e5, log_likelihood=0.0)
    table = appendix_f.table(last(bounds()), pd.concat([evidence, further]))
    pd.testing.assert_frame_equal(table, appendix_f.table(last(bounds()), evidence))
    elsewhere = evidence.assign(samples=evidence["samples"].where(evidence["estimator"] == "full_vb", 6.3e5))
    only_there = appendix_f.table(last(bounds()), elsewhere).set_index("quantity")
    assert only_there.loc["log p(x) of test points", ["aevb", "difference"]].isna().all().all()


def test_one_seed_has_no_interval():
    frame, evidence = last(bounds()).query("seed == 0"), marginal().query("seed == 0")
    table = appendix_f.table(frame, evidence)
    assert table["ci_low"].isna().all()
    np.testing.assert_allclose(table["difference"], GAIN[0])


def test_a_refused_value_leaves_its_row_without_a_mean():
    evidence = marginal().reset_index(drop=True)
    refused = (evidence["estimator"] == "full_vb") & (evidence["split"] == "test") & (evidence["seed"] == 1)
    evidence.loc[refused, "log_likelihood"] = np.nan
    table = appendix_f.table(last(bounds()), evidence).set_index("quantity")
    assert table.loc["log p(x) of test points", "full_vb"].isna().all()
    assert table.loc["log p(x) of test points", "difference"].isna().all()
    assert table.loc["log p(x) of training points", "full_vb"].notna().all()


def test_a_seed_that_both_methods_lost_is_not_left_out():
    evidence = marginal().reset_index(drop=True)
    evidence.loc[evidence["split"].eq("test") & evidence["seed"].eq(0), "log_likelihood"] = np.nan
    rows = appendix_f.table(last(bounds()), evidence).set_index("quantity").loc["log p(x) of test points"]
    assert (rows["n_seeds"] == 3).all()
    assert rows[["aevb", "full_vb", "difference"]].isna().all().all()


def test_a_comparison_with_nothing_is_refused():
    with pytest.raises(UserError, match="full_vb with aevb"):
        appendix_f.table(last(bounds(["aevb"])), marginal().query("estimator == 'aevb'"))


def test_the_figure_has_a_panel_per_training_size_and_three_lines_per_method():
    figure = appendix_f.figure(bounds())
    assert [axes.get_title().split("= ")[1] for axes in figure.axes] == ["20$", "40$"]
    for axes in figure.axes:
        assert sorted(line.get_linestyle() for line in axes.lines) == sorted(["-", "--", ":"] * 2)
