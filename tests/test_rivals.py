"""studies/rivals.py: the README's table of estimators is the comparison's, and its words say what that shows."""

from pathlib import Path

import numpy as np
import pandas as pd

import rivals

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = pd.read_csv(ROOT / "results/reference/comparison_mnist_laptop.csv")


def rows(**changed):
    base = {"dataset": "mnist", "n_hidden": 100, "n_latent": 3, "n_train": 50_000, "estimator": "iwae"}
    base |= {"baseline": "aevb", "step_size": 0.1, "difference": 1.25, "ci_low": 0.5, "ci_high": 2.0}
    base |= {"verdict": "no difference shown"} | changed
    return pd.DataFrame([base | {"metric": metric} for metric in ("bound", "log_likelihood", "samples")])


def test_a_line_has_both_differences_and_what_was_judged_is_bold():
    *_, plain = rivals.page(rows()).splitlines()
    assert plain == "| MNIST | `iwae` | 0.1 | +1.2 [0.5, 2.0] | +1.2 [0.5, 2.0] |"
    *_, judged = rivals.page(rows(verdict="better")).splitlines()
    assert judged.count("**+1.2 [0.5, 2.0] better**") == 2
    refused = "no value: log p(x) refused for 1 of 12 seeds"
    *_, none = rivals.page(rows(verdict=refused, difference=np.nan)).splitlines()
    assert none.count(refused) == 2


def test_the_readme_has_the_table():
    assert rivals.page(TABLE) in README


def test_the_readme_says_what_the_table_shows():
    text = " ".join(README.split())
    found = TABLE.set_index(["estimator", "metric"])
    weighing = ["iwae", "dreg", "reweighted_wake_sleep", "renyi"]
    likelihood, bound = (found.xs(name, level="metric").loc[weighing] for name in ("log_likelihood", "bound"))
    low, high = likelihood["difference"].min(), likelihood["difference"].max()
    assert f"end {low:.1f} to {high:.1f} nats above AEVB in log p(x)" in text
    assert (likelihood["ci_low"] > 0).all()
    assert set(likelihood["verdict"]) == {"no difference shown"}
    alone = likelihood["p_value"].map("{:.2f}".format)
    names = ["dreg", "reweighted_wake_sleep", "iwae", "renyi"]
    said = "alone `dreg` has p = {}, `reweighted_wake_sleep` {}, `iwae` {} and `renyi` {}".format(
        *alone[names]
    )
    tests = found["p_value"].notna().sum()
    assert (
        f"{said}, and among the {tests} tests of the table no less than {likelihood['p_adjusted'].min():.2f}"
        in text
    )
    assert not (found.xs("bound", level="metric")["ci_low"] > 0).any()
    assert bound.loc["iwae", "ci_high"] < 0
    both = found.loc["score_function_loo"].loc[["bound", "log_likelihood"]]
    assert (both["ci_high"] < 0).all()
    said = "with p = {:.2f} and {:.2f} alone and {:.2f} and {:.2f} in the table"
    assert said.format(*both["p_value"], *both["p_adjusted"]) in text
    assert set(TABLE["step_size"]) == set(TABLE["baseline_step_size"]) == {0.1}
    assert set(TABLE["n_seeds"]) == {12}


def test_the_table_has_the_step_sizes_of_the_searches():
    searches = pd.read_csv(ROOT / "results/reference/comparison_step_sizes.csv")
    chosen = searches[searches["chosen"] & searches["dataset"].eq("mnist")].set_index("estimator")[
        "step_size"
    ]
    assert set(TABLE["estimator"]) | {"aevb"} == set(chosen.index)
    assert (TABLE["step_size"] == TABLE["estimator"].map(chosen)).all()
