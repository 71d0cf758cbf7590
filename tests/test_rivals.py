"""studies/rivals.py: the README's table of estimators is the comparison's, and its words say what that shows."""

from pathlib import Path

import numpy as np
import pandas as pd

import rivals
from aevb import config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = pd.read_csv(ROOT / "results/reference/comparison_laptop.csv")


def rows(**changed):
    base = {"dataset": "mnist", "n_hidden": 100, "n_latent": 3, "n_train": 50_000, "estimator": "iwae"}
    base |= {"baseline": "aevb", "step_size": 0.1, "difference": 1.25, "ci_low": 0.5, "ci_high": 2.0}
    base |= {"verdict": "no difference shown"} | changed
    return pd.DataFrame(
        [base | {"metric": metric} for metric in ("bound", "log_likelihood", "gap", "samples")]
    )


def test_a_line_has_the_three_differences_and_what_was_judged_is_bold():
    *_, plain = rivals.page(rows()).splitlines()
    assert plain == "| MNIST | `iwae` | 0.1 | +1.2 [0.5, 2.0] | +1.2 [0.5, 2.0] | +1.2 [0.5, 2.0] |"
    *_, judged = rivals.page(rows(verdict="better")).splitlines()
    assert judged.count("**+1.2 [0.5, 2.0] better**") == 3
    refused = "no value: log p(x) refused for 1 of 12 seeds"
    *_, none = rivals.page(rows(verdict=refused, difference=np.nan)).splitlines()
    assert none.count(refused) == 3


def test_the_readme_has_the_table():
    assert rivals.page(TABLE) in README


WEIGHING = ["iwae", "dreg", "reweighted_wake_sleep", "renyi"]
FOUND = TABLE.set_index(["dataset", "metric", "estimator"]).sort_index()


def of_weighing(dataset, metric):
    return FOUND.loc[dataset, metric].loc[WEIGHING]


def test_the_readme_says_what_the_table_shows_on_frey_face():
    text = " ".join(README.split())
    likelihood, bound = (of_weighing("frey", name) for name in ("log_likelihood", "bound"))
    assert set(likelihood["verdict"]) == {"better"}
    leads = likelihood["difference"]
    assert f"judged better on Frey Face in log p(x), by {leads.min():.0f} to {leads.max():.0f} nats" in text
    leads, alone, tests = bound["difference"], bound["p_value"], FOUND["p_value"].notna().sum()
    assert set(bound["verdict"]) == {"no difference shown"}
    assert (
        f"they lead by {leads.min():.0f} to {leads.max():.0f}, which is no verdict among {tests} tests "
        f"(p = {alone.min():.3f} to {alone.max():.2f} alone)"
    ) in text
    samples, seconds = (of_weighing("frey", name)["difference"] for name in ("samples", "seconds"))
    assert (
        f"after {samples.min():.2f} to {samples.max():.2f} of AEVB's samples and "
        f"in {seconds.min():.1f} to {seconds.max():.1f} times its time"
    ) in text


def test_the_readme_says_whose_the_gain_is():
    text = " ".join(README.split())
    frey, mnist = (of_weighing(dataset, "gap") for dataset in ("frey", "mnist"))
    assert (frey["ci_low"] > 0).all()
    assert (mnist["ci_low"] > 0).all()
    assert (
        f"further from the posterior than AEVB's, by {frey['difference'].min():.0f} to "
        f"{frey['difference'].max():.0f} nats on Frey Face and {mnist['difference'].min():.1f} to "
        f"{mnist['difference'].max():.1f} on MNIST, where AEVB's gap is {frey['baseline_value'].iloc[0]:.1f} "
        f"and {mnist['baseline_value'].iloc[0]:.1f}."
    ) in text


def test_the_readme_says_what_the_table_shows_on_mnist():
    text = " ".join(README.split())
    likelihood = of_weighing("mnist", "log_likelihood")
    assert set(likelihood["verdict"]) == {"no difference shown"}
    leads, alone, least = likelihood["difference"], likelihood["p_value"], likelihood["p_adjusted"].min()
    assert f"end {leads.min():.1f} to {leads.max():.1f} nats above AEVB in log p(x)" in text
    assert (
        f"(p = {alone.min():.2f} to {alone.max():.2f} alone, no less than {least:.2f} in the table)" in text
    )


def test_the_readme_says_of_the_others_what_the_table_shows():
    tested = FOUND[FOUND["p_value"].notna()].reset_index("estimator")
    verdicts = tested.groupby("estimator")["verdict"].agg(set)
    assert verdicts[["score_function", "wake_sleep"]].tolist() == [{"worse"}] * 2
    others = ["sgvb_a", "sticking_the_landing", "score_function_loo"]
    assert verdicts[others].tolist() == [{"no difference shown"}] * 3
    assert set(TABLE["n_seeds"]) == {12}
    for dataset, step_size in {"mnist": 0.1, "frey": 0.01}.items():
        assert set(TABLE.loc[TABLE["dataset"] == dataset, "baseline_step_size"]) == {step_size}


def test_an_interval_leaves_out_zero_just_where_the_p_value_is_small():
    tested = FOUND[FOUND["p_value"].notna()]
    outside = (tested["ci_low"] > 0) | (tested["ci_high"] < 0)
    assert (outside == (tested["p_value"] <= 0.05)).all()


def test_the_table_has_the_step_sizes_of_the_searches():
    searches = pd.read_csv(ROOT / "results/reference/comparison_step_sizes.csv")
    chosen = searches[searches["chosen"]].groupby(["dataset", "estimator"])["step_size"].unique().explode()
    known = pd.MultiIndex.from_frame(TABLE[["dataset", "estimator"]])
    assert {*known} | {("mnist", "aevb"), ("frey", "aevb")} == {*chosen.index}
    assert TABLE["step_size"].tolist() == chosen[known].tolist()


def test_the_pages_say_how_far_the_searches_can_be_trusted():
    """In how many the seeds agree, what leads where they do not, and by how much."""
    searches = pd.read_csv(ROOT / "results/reference/comparison_step_sizes.csv")
    assert not searches["diverged"].any()
    leads = {}
    for method, rows in searches.groupby(["dataset", "estimator"]):
        ends = rows.pivot(index="seed", columns="step_size", values="value")
        [taken] = rows.loc[rows["chosen"], "step_size"].unique()
        assert ends.mean().idxmax() == taken == ends.iloc[0].idxmax()  # as with the first seed alone
        leads[method] = (
            ends[taken] - ends.drop(columns=taken).max(axis=1),
            ends.mean().nlargest(2).diff().iloc[1],
        )
    torn = {method: -of_mean for method, (by_seed, of_mean) in leads.items() if not (by_seed > 0).all()}
    assert (
        {len(by_seed) for by_seed, _ in leads.values()}
        == {config.read(ROOT / "config.yaml").comparison.search_seeds}
        == {3}
    )
    text = " ".join(README.split())
    frey = ("dreg", "iwae", "renyi", "sgvb_a")
    assert {*torn} == {("frey", name) for name in frey} | {("mnist", "wake_sleep")}
    assert f"In {len(leads) - len(torn)} of the {len(leads)} searches all three seeds have the same" in text
    assert f"leads by {min(torn.values()):.1f} to {max(torn.values()):.1f} nats in the mean" in text
    page = " ".join((ROOT / "docs/decisions/0005-comparisons.md").read_text(encoding="utf-8").split())
    first, *others = leads["mnist", "wake_sleep"][0]
    assert f"which leads with it by {first:.0f} nats, where the others prefer 0.02 by" in page
    assert f"by {-max(others):.0f} and {-min(others):.0f};" in page
    plain = searches[searches[["dataset", "estimator"]].eq(["mnist", "score_function"]).all(axis=1)]
    ends = plain.pivot(index="seed", columns="step_size", values="value")
    assert (ends.idxmax(axis=1) == 0.02).all()
    assert f"0.1 by {ends[0.02].mean() - ends[0.1].mean():.0f} nats behind in the mean" in page
    assert f"by {torn['frey', 'dreg']:.0f} and {torn['frey', 'renyi']:.0f}." in page
