"""paper_comparison.py: interpolation on the paper's curves, and intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import curves, paper_comparison
from test_gate import BOUND, CELL, LIKELIHOOD, row, run

PAPER = pd.read_csv(Path(__file__).parents[1] / "results/reference/paper.csv")
COLUMNS = [  # the contract of results/tables/paper_comparison.csv, and how many seeds
    *["figure", "dataset", "method", "n_latent", "n_train", "split", "samples"],
    *["paper", "ours", "ci_low", "ci_high", "difference", "n_seeds"],
]


def bounds(samples, values, split="test", **changes):
    """Bounds of one cell of Figure 2 (MNIST, N_z = 3): `values` is (seeds, points)."""
    cell = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 500, "n_latent": 3, "n_train": 50_000}
    seeds = [
        pd.DataFrame({"seed": seed, "samples": samples, "bound": row, "split": split, "seconds": 1.0})
        for seed, row in enumerate(np.atleast_2d(values))
    ]
    return pd.concat(seeds).assign(**(cell | changes))


def marginal(samples, values, split="test", **changes):
    """Evidence of one cell of Figure 3 (N_train = 1000), with a standard error of 0.5 over points."""
    rows = bounds(samples, values, split, n_hidden=100, n_train=1000).rename(
        columns={"bound": "log_likelihood"}
    )
    return rows.assign(evidence_estimator="appendix_d_robust", std_error=0.1, std_error_points=0.5, **changes)


NO_BOUNDS, NO_MARGINAL = bounds([], []), marginal([], [])


def paper_curve(figure, split="test", method="aevb", n_latent=3, n_train=50_000, dataset="mnist"):
    wanted = {
        "figure": figure,
        "dataset": dataset,
        "method": method,
        "n_latent": n_latent,
        "n_train": n_train,
    }
    rows = PAPER[(PAPER[list(wanted)] == list(wanted.values())).all(axis=1) & (PAPER["split"] == split)]
    return rows.sort_values("samples").reset_index(drop=True)


def test_the_paper_is_met_exactly_at_every_digitised_point():
    curve = paper_curve(2)
    table = paper_comparison.table(bounds(curve["samples"], curve["nats"] + 1), NO_MARGINAL, PAPER)
    assert table.columns.tolist() == COLUMNS
    np.testing.assert_allclose(table["paper"], curve["nats"])
    np.testing.assert_allclose(table["difference"], 1.0)
    assert table[["ci_low", "ci_high"]].isna().all(axis=None)  # one seed says nothing about seeds


def test_interpolation_is_linear_in_log_samples():
    curve = paper_curve(2).iloc[:2]
    middle = np.sqrt(curve["samples"].prod())
    np.testing.assert_allclose(curves.interpolate(curve, np.array([middle])), curve["nats"].mean())


def test_nothing_is_extrapolated():
    curve = paper_curve(2)
    first, last = curve["samples"].iloc[[0, -1]]
    points = [first // 2, first - 1, first, last, last + 1, 2 * last]
    table = paper_comparison.table(bounds(points, np.full(6, -130.0)), NO_MARGINAL, PAPER)
    assert table["samples"].tolist() == [first, last]


def test_the_papers_train_curve_is_compared_with_our_running_mean():
    ours = pd.concat([bounds([10**6], -150.0, "train_running"), bounds([10**6], -100.0, "train")])
    table = paper_comparison.table(ours, NO_MARGINAL, PAPER)
    assert table[["split", "ours"]].to_numpy().tolist() == [["train", -150.0]]
    assert table["paper"].item() == pytest.approx(-155.3, abs=0.1)  # read off the paper's figure


@pytest.mark.parametrize("changes", [{"n_latent": 4}, {"n_train": 777}, {"dataset": "digits"}])
def test_a_curve_that_the_paper_does_not_have_is_compared_with_nothing(changes):
    assert paper_comparison.table(bounds([10**6], -150.0, **changes), NO_MARGINAL, PAPER).empty
    ours = marginal([10**6], -150.0).assign(**changes)
    assert paper_comparison.table(NO_BOUNDS, ours, PAPER).empty


def test_intervals_over_seeds_and_over_points():
    values = np.array([[-150.0], [-152.0], [-151.5]])
    table = paper_comparison.table(bounds([10**6], values), marginal([10**6], -146.0), PAPER)
    figure2, figure3 = table[table["figure"] == 2].iloc[0], table[table["figure"] == 3].iloc[0]
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values[:, 0]))
    np.testing.assert_allclose([figure2["ci_low"], figure2["ci_high"]], expected)
    np.testing.assert_allclose([figure3["ci_low"], figure3["ci_high"]], [-146 - 0.98, -146 + 0.98])


def test_a_diverged_seed_leaves_the_row_and_empties_ours():
    ours = bounds([10**6, 2 * 10**6], [[-150.0, -148.0], [-151.0, np.nan]])
    table = paper_comparison.table(ours, NO_MARGINAL, PAPER)
    assert table["ours"].iloc[0] == -150.5
    assert np.isnan(table["ours"].iloc[1])
    assert np.isfinite(table["paper"]).all()


def test_no_runs_of_the_paper_give_empty_tables():
    digits = bounds([10**6], -30.0, dataset="digits")
    table = paper_comparison.table(digits, marginal([10**6], -30.0, dataset="digits"), PAPER)
    assert table.empty
    assert table.columns.tolist() == COLUMNS


@pytest.mark.parametrize("nothing", [NO_MARGINAL, pd.DataFrame(columns=NO_MARGINAL.columns)])
def test_a_dataset_without_figure_3_has_figure_2_alone(nothing):
    # columns of no type are what a job makes where there is no table, as for `datasets=frey`
    table = paper_comparison.table(bounds([10**6], -150.0), nothing, PAPER)
    assert table["figure"].tolist() == [2]


def test_a_cell_of_other_sizes_than_the_papers_has_nothing_of_the_paper_beside_it():
    table = paper_comparison.table(bounds([10**6], -150.0, n_hidden=100), NO_MARGINAL, PAPER)
    assert table.empty


def test_the_papers_value_stands_beside_the_test_curve_inside_its_range(monkeypatch):
    monkeypatch.setitem(paper_comparison.PAPERS_HIDDEN[2], "digits", CELL.n_hidden)
    rows = pd.DataFrame([row(run()), row(run(), LIKELIHOOD), row(run(), BOUND._replace(split="train"))])
    curve = {
        "figure": 2,
        "dataset": "digits",
        "method": "aevb",
        "n_latent": 2,
        "n_train": 200,
        "split": "test",
    }
    paper = pd.DataFrame(
        [curve | {"samples": samples, "nats": samples / 1000} for samples in (10_000, 40_000)]
    )
    found = paper_comparison.with_paper(rows, paper, [CELL], [])
    assert found["paper"].tolist() == pytest.approx([25.0, np.nan, np.nan], nan_ok=True)
    assert found["above_paper"][0] == pytest.approx(rows["value"][0] - 25.0)
    assert paper_comparison.with_paper(rows, paper, [], [])["paper"].isna().all()
    with monkeypatch.context() as patch:
        patch.setitem(paper_comparison.PAPERS_HIDDEN[2], "digits", CELL.n_hidden + 1)
        assert paper_comparison.with_paper(rows, paper, [CELL], [])["paper"].isna().all()
    late = paper.assign(samples=paper["samples"] * 10)
    assert paper_comparison.with_paper(rows, late, [CELL], [])["paper"].isna().all()
