"""representation_table.py: means over seeds, and each cell's own yardsticks."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import representation_table


def runs(values, **changes):
    """Runs of one cell, a value a seed for every measure; the standard errors are 0.1, 0.2, ..."""
    cell = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 500, "n_latent": 3, "n_train": 50_000}
    rows = pd.DataFrame({"seed": range(len(values)), "samples": 1000, "n_points": 10_000})
    errors = {
        name: 0.1 * (1 + rows["seed"]) for name in representation_table.RUNS if name.endswith("_std_error")
    }
    return rows.assign(**(dict.fromkeys(representation_table.MEASURES, values) | errors | cell | changes))


BESIDE = pd.DataFrame(
    [
        ["mnist", 50_000, 0.06, 0.02, 0.97, 2e-4, 1e-4, 2e-3],
        ["frey", 1600, 0.01, 0.1, np.nan, 2e-4, 1e-3, np.nan],
    ],
    columns=representation_table.YARDSTICKS,
)


def test_a_representation_is_the_mean_of_its_seeds_with_a_t_interval():
    values = [0.2, 0.5, 0.3]
    [row] = representation_table.table(runs(values), BESIDE).to_dict("records")
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    for name in representation_table.MEASURES:
        assert [row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"]] == pytest.approx([1 / 3, low, high])
    assert row["denoising_error_std_error"] == pytest.approx(0.2)
    assert (row["n_seeds"], row["samples"], row["n_points"]) == (3, 1000, 10_000)
    assert (row["corruption_error"], row["pixel_accuracy"], row["pixel_accuracy_std_error"]) == (
        0.02,
        0.97,
        2e-3,
    )


def test_one_seed_has_no_interval_and_a_diverged_one_no_mean():
    one = runs([0.2])
    diverged = runs([0.2, np.nan], estimator="wake_sleep")
    table = representation_table.table(pd.concat([one, diverged]), BESIDE)
    assert table["estimator"].tolist() == ["aevb", "wake_sleep"]
    for name in representation_table.MEASURES:
        assert table[[f"{name}_ci_low", f"{name}_ci_high"]].isna().all(axis=None)
        assert table[name].isna().tolist() == [False, True]


def test_each_cell_has_the_yardsticks_of_its_own_dataset():
    frey = runs([0.2], dataset="frey", n_train=1600).assign(latent_accuracy=np.nan)
    table = representation_table.table(pd.concat([frey, runs([0.3])]), BESIDE)
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
