"""The tables: interpolation on the paper's curves, intervals, and their pages in the report."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import tables

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
    table = tables.paper_comparison(bounds(curve["samples"], curve["nats"] + 1), NO_MARGINAL, PAPER)
    assert table.columns.tolist() == COLUMNS
    np.testing.assert_allclose(table["paper"], curve["nats"])
    np.testing.assert_allclose(table["difference"], 1.0)
    assert table[["ci_low", "ci_high"]].isna().all(axis=None)  # one seed says nothing about seeds


def test_interpolation_is_linear_in_log_samples():
    curve = paper_curve(2).iloc[:2]
    middle = np.sqrt(curve["samples"].prod())
    np.testing.assert_allclose(tables.interpolate(curve, np.array([middle])), curve["nats"].mean())


def test_nothing_is_extrapolated():
    curve = paper_curve(2)
    first, last = curve["samples"].iloc[[0, -1]]
    points = [first // 2, first - 1, first, last, last + 1, 2 * last]
    table = tables.paper_comparison(bounds(points, np.full(6, -130.0)), NO_MARGINAL, PAPER)
    assert table["samples"].tolist() == [first, last]


def test_the_papers_train_curve_is_compared_with_our_running_mean():
    ours = pd.concat([bounds([10**6], -150.0, "train_running"), bounds([10**6], -100.0, "train")])
    table = tables.paper_comparison(ours, NO_MARGINAL, PAPER)
    assert table[["split", "ours"]].to_numpy().tolist() == [["train", -150.0]]
    assert table["paper"].item() == pytest.approx(-155.3, abs=0.1)  # read off the paper's figure


@pytest.mark.parametrize("changes", [{"n_latent": 4}, {"n_train": 777}, {"dataset": "digits"}])
def test_a_curve_that_the_paper_does_not_have_is_compared_with_nothing(changes):
    assert tables.paper_comparison(bounds([10**6], -150.0, **changes), NO_MARGINAL, PAPER).empty
    ours = marginal([10**6], -150.0).assign(**changes)
    assert tables.paper_comparison(NO_BOUNDS, ours, PAPER).empty


def test_intervals_over_seeds_and_over_points():
    values = np.array([[-150.0], [-152.0], [-151.5]])
    table = tables.paper_comparison(bounds([10**6], values), marginal([10**6], -146.0), PAPER)
    figure2, figure3 = table[table["figure"] == 2].iloc[0], table[table["figure"] == 3].iloc[0]
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values[:, 0]))
    np.testing.assert_allclose([figure2["ci_low"], figure2["ci_high"]], expected)
    np.testing.assert_allclose([figure3["ci_low"], figure3["ci_high"]], [-146 - 0.98, -146 + 0.98])


def test_a_diverged_seed_leaves_the_row_and_empties_ours():
    ours = bounds([10**6, 2 * 10**6], [[-150.0, -148.0], [-151.0, np.nan]])
    table = tables.paper_comparison(ours, NO_MARGINAL, PAPER)
    assert table["ours"].iloc[0] == -150.5
    assert np.isnan(table["ours"].iloc[1])
    assert np.isfinite(table["paper"]).all()


def test_no_runs_of_the_paper_give_empty_tables():
    digits = bounds([10**6], -30.0, dataset="digits")
    table = tables.paper_comparison(digits, marginal([10**6], -30.0, dataset="digits"), PAPER)
    assert table.empty
    assert table.columns.tolist() == COLUMNS
    assert "samples" in tables.to_html(table, "paper_comparison")


@pytest.mark.parametrize("nothing", [NO_MARGINAL, pd.DataFrame(columns=NO_MARGINAL.columns)])
def test_a_dataset_without_figure_3_has_figure_2_alone(nothing):
    # columns of no type are what a job makes where there is no table, as for `datasets=frey`
    table = tables.paper_comparison(bounds([10**6], -150.0), nothing, PAPER)
    assert table["figure"].tolist() == [2]


def test_costs_have_a_row_for_every_run():
    cell = dict.fromkeys(tables.COSTS, 3) | {"versions": {"torch": "2"}}
    assert tables.costs([cell, cell]).shape == (2, len(tables.COSTS))
    assert tables.costs([]).columns.tolist() == tables.COSTS


def run(**changes):
    """What `tables.provenance` reads of a cell.json."""
    versions = {"python": "3.11.9", "torch": "2.6.0"}
    cell = {"dataset": "mnist", "estimator": "aevb", "data": "d1", "numerics": "a1", "device": "cpu"}
    return cell | {"versions": versions, "seed": 0} | changes


def test_provenance_counts_the_runs_that_share_a_value():
    other = {"dataset": "frey", "estimator": "mcem", "data": "d2", "numerics": "m1", "device": "cuda"}
    table = tables.provenance([run(), run(seed=1), run(**other)])
    assert table.columns.tolist() == ["item", "value", "runs"]
    assert sorted(table.itertuples(index=False, name=None)) == [
        ("data: frey", "d2", 1),
        ("data: mnist", "d1", 2),
        ("device", "cpu", 2),
        ("device", "cuda", 1),
        ("numerics: aevb", "a1", 2),
        ("numerics: mcem", "m1", 1),
        ("python", "3.11.9", 3),
        ("torch", "2.6.0", 3),
    ]


def test_provenance_shows_runs_of_different_software_apart():
    old = run(versions={"python": "3.11.9", "torch": "2.5.1"}, numerics="a0")
    table = tables.provenance([run(), old]).set_index("item")["value"]
    assert sorted(table["torch"]) == ["2.5.1", "2.6.0"]
    assert sorted(table["numerics: aevb"]) == ["a0", "a1"]
    assert table["python"] == "3.11.9"


def test_no_runs_have_no_provenance():
    table = tables.provenance([])
    assert table.empty
    assert table.columns.tolist() == ["item", "value", "runs"]


def test_html_is_self_contained_and_formats_numbers():
    frame = pd.DataFrame(
        {
            "samples": [1_000_000, 20],
            "bound": [-153.04321, np.nan],
            "std_error": [0.01234, 0.5],
            "rate": [12345.6, 1],
        }
    )
    html = tables.to_html(frame, "a_<_b")
    cells = re.findall(r'<td headers="[^>]*>([^<]*)</td>', html)
    assert cells == ["1,000,000", "−153.04", "0.0123", "12,346", "20", "–", "0.500", "1"]
    assert "A &lt; b" in html
    assert "Source: results/tables/a_&lt;_b.csv" in html
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert tables.to_html(frame, "a_<_b") == html


def test_a_column_is_shown_as_its_own_table_wants_it_whatever_stands_beside_it():
    frame = pd.DataFrame({"bias": [2.5], "std_error": [0.00012], "baseline": ["aevb"], "value": [52508.7]})

    def shown(name):
        return re.findall(r'<td headers="[^>]*>([^<]*)</td>', tables.to_html(frame, name))

    assert shown("certification") == ["2.5000", "0.0001", "aevb", "52,509"]
    assert shown("regression") == shown("new") == ["2.50", "0.000120", "aevb", "52,509"]
    whole = pd.DataFrame({"baseline": ["aevb"], "value": [26.46313]})
    assert "26.463" in tables.to_html(whole, "comparison")
    assert "26.46<" in tables.to_html(whole, "new")


# ------------------------------------------------------------------------------------- bound and log-likelihood


def side_by_side(**likelihoods):
    """One run whose estimators give these values; appendix_d is refused where it is NaN."""
    estimators = {"bound": "elbo", "appendix_d": "appendix_d_robust"}
    identity = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 100, "n_latent": 3, "n_train": 1000}
    rows = [
        identity
        | {"seed": 0, "split": "test", "samples": samples, "n_points": 10, "std_error": 0.3}
        | {"evidence_estimator": estimators.get(name, name)}
        | {"log_likelihood": value if name == "appendix_d" else np.nan}
        | {"lower_bound": np.nan if name == "appendix_d" else value}
        for name, value in likelihoods.items()
        for samples in ((100, 200) if name == "appendix_d" else (200,))
    ]
    return tables.bound_and_likelihood(pd.DataFrame(rows))


def test_the_certified_value_is_the_likelihood_where_there_is_one():
    [row] = side_by_side(bound=-130.0, importance=-128.5, annealed=-127.5, appendix_d=-127.0).to_dict(
        "records"
    )
    assert (row["log_likelihood"], row["log_likelihood_from"]) == (-127.0, "appendix_d")
    assert (row["bound"], row["importance"], row["annealed"]) == (-130.0, -128.5, -127.5)
    assert row["gap"] == 3.0
    assert row["gap_error"] == pytest.approx(0.3 * 2**0.5)
    assert row["samples"] == 200


def test_the_highest_lower_bound_stands_in_for_a_value_that_was_refused_or_not_asked_for():
    for others in ({"appendix_d": np.nan}, {}):
        values = {"bound": -130.0, "importance": -128.5, "annealed": -127.5} | others
        [row] = side_by_side(**values).to_dict("records")
        assert (row["log_likelihood"], row["log_likelihood_from"]) == (-127.5, "annealed")


def test_a_method_without_an_encoder_has_no_bound_and_no_gap():
    [row] = side_by_side(bound=np.nan, importance=-128.0, annealed=-128.5).to_dict("records")
    assert row["log_likelihood_from"] == "importance"
    assert np.isnan(row["gap"])


def test_an_error_far_below_the_margin_can_be_read_off_its_page():
    row = {"n_latent": 3.0, "bias": -0.0004, "ci_low": -0.002, "ci_high": 0.0012, "verdict": "accurate"}
    row["refusal"] = "3 of 100 points: split R-hat above 1.1"
    page = tables.to_html(pd.DataFrame([row, row | {"bias": -2.5}]), "certification")
    assert "0.0004" in page
    assert ">3<" in page
    assert "min-width" in page


# --------------------------------------------------------------------------------------------- representation


def represented(values, **changes):
    """Runs of one cell, a value a seed for every measure; the standard errors are 0.1, 0.2, ..."""
    cell = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 500, "n_latent": 3, "n_train": 50_000}
    rows = pd.DataFrame({"seed": range(len(values)), "samples": 1000, "n_points": 10_000})
    errors = {name: 0.1 * (1 + rows["seed"]) for name in tables.REPRESENTED if name.endswith("_std_error")}
    return rows.assign(**(dict.fromkeys(tables.MEASURES, values) | errors | cell | changes))


BESIDE = pd.DataFrame(
    [
        ["mnist", 50_000, 0.06, 0.02, 0.97, 2e-4, 1e-4, 2e-3],
        ["frey", 1600, 0.01, 0.1, np.nan, 2e-4, 1e-3, np.nan],
    ],
    columns=tables.YARDSTICKS,
)


def test_a_representation_is_the_mean_of_its_seeds_with_a_t_interval():
    values = [0.2, 0.5, 0.3]
    [row] = tables.representation(represented(values), BESIDE).to_dict("records")
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    for name in tables.MEASURES:
        assert [row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"]] == pytest.approx([1 / 3, low, high])
    assert row["denoising_error_std_error"] == pytest.approx(0.2)
    assert (row["n_seeds"], row["samples"], row["n_points"]) == (3, 1000, 10_000)
    assert (row["corruption_error"], row["pixel_accuracy"], row["pixel_accuracy_std_error"]) == (
        0.02,
        0.97,
        2e-3,
    )


def test_one_seed_has_no_interval_and_a_diverged_one_no_mean():
    one = represented([0.2])
    diverged = represented([0.2, np.nan], estimator="wake_sleep")
    table = tables.representation(pd.concat([one, diverged]), BESIDE)
    assert table["estimator"].tolist() == ["aevb", "wake_sleep"]
    for name in tables.MEASURES:
        assert table[[f"{name}_ci_low", f"{name}_ci_high"]].isna().all(axis=None)
        assert table[name].isna().tolist() == [False, True]


def test_each_cell_has_the_yardsticks_of_its_own_dataset():
    frey = represented([0.2], dataset="frey", n_train=1600).assign(latent_accuracy=np.nan)
    table = tables.representation(pd.concat([frey, represented([0.3])]), BESIDE)
    assert table["dataset"].tolist() == ["frey", "mnist"]
    assert table["corruption_error"].tolist() == [0.1, 0.02]
    assert table["mean_image_error"].tolist() == [0.01, 0.06]
    assert (
        table["pixel_accuracy"].isna().tolist() == table["latent_accuracy"].isna().tolist() == [True, False]
    )
    columns = table.columns.tolist()
    assert columns[:5] == ["dataset", "estimator", "n_hidden", "n_latent", "n_train"]
    assert columns.index("corruption_error") == columns.index("denoising_error_std_error") + 1
    assert "active_units_std_error" not in columns  # a count is no mean over points


def test_values_of_a_comparison_have_five_digits_and_those_of_provenance_are_words():
    compared = pd.DataFrame(
        {"baseline": ["aevb"] * 2, "value": [-26.46313, 52508.7], "p_value": [0.03125, 1.0]}
    )
    page = tables.to_html(compared, "comparison")
    assert all(text in page for text in ("26.463", "52,509", "0.0312"))
    versions = pd.DataFrame({"item": ["torch"], "value": ["2.13.0"]})
    assert "2.13.0" in tables.to_html(versions, "provenance")
