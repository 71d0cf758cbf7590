"""studies/figure3.py: the scripts on Figure 3 take the paper's values and ours from one table, as it is now."""

from pathlib import Path

import pandas as pd
import pytest

import figure3

REFERENCES = Path(__file__).parents[1] / "results/reference"


def test_a_curve_is_of_one_method_and_training_set_of_figure_3():
    rows = [
        {"figure": figure, "method": method, "n_train": n_train, "split": "test", "samples": 10, "ours": ours}
        for figure, method, n_train, ours in (
            (2, "aevb", 1000, -1.0),
            (3, "mcem", 1000, -2.0),
            (3, "aevb", 50_000, -3.0),
            (3, "aevb", 1000, -4.0),
        )
    ]
    assert figure3.curve(pd.DataFrame(rows), "aevb", 1000)["ours"].to_dict() == {("test", 10): -4.0}


def test_a_report_point_has_the_row_at_it_or_else_the_next():
    index = pd.MultiIndex.from_product([["test", "train"], [100, 205, 400]], names=["split", "samples"])
    curve = pd.DataFrame({"ours": [-3.0, -2.0, -1.0, -6.0, -5.0, -4.0]}, index=index)
    assert [figure3.at(curve, "test", samples)["ours"] for samples in (100, 200, 400)] == [-3.0, -2.0, -1.0]
    assert figure3.at(curve, "train", 200)["ours"] == -5.0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("figure3_long", ["paper", "ours"]),
        ("figure3_readings", ["paper", "ours"]),
        ("figure3_prior", ["paper"]),
        ("chains_overnight", ["paper"]),
    ],
)
def test_what_stands_beside_a_reading_is_what_is_kept_now(name, values):
    table = pd.read_csv(REFERENCES / f"{name}.csv").rename(columns={"estimator": "method"})
    for column, known in (("method", "aevb"), ("n_train", 50_000)):
        if column not in table:
            table[column] = known
    for (method, n_train), rows in table.groupby(["method", "n_train"]):
        curve = figure3.curve(figure3.kept(), method, n_train)
        for _, row in rows.iterrows():
            beside = figure3.at(curve, row["split"], row["samples"])
            for column in values:
                same = pytest.approx(beside[column], abs=1e-4, nan_ok=True)
                assert row[column] == same, (method, n_train, row["split"], row["samples"], column)
