"""The comparison's pictures: one curve and one line of the forest for every method, at the table's values."""

import numpy as np
import pandas as pd
import pytest

from aevb import comparison, contests
from aevb.curves import METHOD_NAMES
from aevb.drawing import method_colours

METHODS = ["aevb", "iwae", "mine"]
SAMPLES = [1e3, 1e4, 1e5]


def curves(datasets=("digits",), seeds=3):
    rows = [
        {"dataset": dataset, "estimator": method, "n_hidden": 5, "n_latent": 2, "n_train": 9, "seed": seed}
        | {"samples": samples, "seconds": samples / 1e3, "bound": -60 + 10 * n + place + seed}
        for dataset in datasets
        for place, method in enumerate(METHODS)
        for seed in range(seeds)
        for n, samples in enumerate(SAMPLES)
    ]
    return pd.DataFrame(rows)


def table(datasets=("digits",)):
    rows = [
        {"dataset": dataset, "n_hidden": 5, "n_latent": 2, "n_train": 9, "estimator": method}
        | {"baseline": "aevb", "metric": metric, "difference": 0.5, "ci_low": 0.2, "ci_high": 0.9}
        | {"verdict": "better" if method == "iwae" else "no difference shown"}
        for dataset in datasets
        for method in METHODS[1:]
        for metric in comparison.METRICS
    ]
    return pd.DataFrame(rows)


def test_every_method_has_its_mean_curve_and_its_own_colour():
    [axes] = contests.curves(curves()).axes
    colours = method_colours(METHODS)
    assert len(set(colours.values())) == len(METHODS)
    drawn = {line.get_color(): line.get_ydata() for line in axes.lines}
    for place, method in enumerate(METHODS):
        np.testing.assert_allclose(drawn[colours[method]], [-59 + place, -49 + place, -39 + place])


def test_a_panel_shows_where_methods_end_and_names_its_data_set():
    figure = contests.curves(curves(("digits", "frey")))
    assert [axes.get_title().split(",")[0] for axes in figure.axes] == ["digits", "Frey Face"]
    low, high = figure.axes[0].get_ylim()
    assert low < -39 < -37 < high
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["AEVB", "IWAE", "mine"]


def test_a_method_far_below_is_named_and_flattens_nothing():
    frame = curves()
    last, mine = frame["samples"] == max(SAMPLES), frame["estimator"] == "mine"
    frame.loc[last & mine, "bound"] = -900.0
    [axes] = contests.curves(frame).axes
    assert [text.get_text() for text in axes.texts] == ["mine ends below, at -900"]
    assert len(axes.lines) == len(METHODS) - 1
    assert axes.get_ylim()[0] > -60
    assert [text.get_text() for text in contests.curves(curves()).axes[0].texts] == [""]


def test_the_forest_has_a_line_per_method_in_a_panel_per_tested_metric():
    figure = contests.forest(table(("digits", "frey")))
    assert len(figure.axes) == 2 * len(contests.TESTED)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["IWAE", "mine"]
    marks = [container.lines[0] for container in axes.containers]
    assert [mark.get_xdata()[0] for mark in marks] == [0.5, 0.5]
    assert [mark.get_markerfacecolor() for mark in marks] == ["green", "white"]
    segment = axes.containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(segment[:, 0], [0.2, 0.9])


def test_a_method_without_a_value_has_its_reason_instead():
    frame = table()
    lost = (frame["estimator"] == "mine") & (frame["metric"] == "bound")
    frame.loc[lost, ["difference", "ci_low", "ci_high"]] = np.nan
    frame.loc[lost, "verdict"] = "diverged: 1 of 6 seeds"
    axes = contests.forest(frame).axes[0]
    assert [text.get_text().strip() for text in axes.texts] == ["diverged: 1 of 6 seeds"]
    assert len(axes.containers) == 1


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_few_seeds_are_drawn_too(n_seeds):
    contests.curves(curves(seeds=n_seeds)).draw_without_rendering()
    frame = table().assign(ci_low=np.nan, ci_high=np.nan)
    contests.forest(frame).draw_without_rendering()


def test_every_estimator_of_the_suite_has_a_name_to_be_printed():
    from aevb import algorithms

    assert set(algorithms.estimators()) <= set(METHOD_NAMES)
