"""The figure of distances: each curve in its panel, grey where it is close, whatever is settled in sight."""

import numpy as np
import pandas as pd

from aevb import closeness
from aevb.distances import distances


def curve(differences, start=10**6, split="test", **identity):
    row = {
        "figure": 2,
        "dataset": "mnist",
        "method": "aevb",
        "n_latent": 3,
        "n_train": 50_000,
        "split": split,
    }
    samples = [start * 2**k for k in range(len(differences))]
    return pd.DataFrame(
        [row | identity | {"samples": s, "difference": d} for s, d in zip(samples, differences, strict=True)]
    )


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_a_panel_for_each_kind_of_curve_that_there_is():
    found = distances(
        pd.concat(
            [
                curve([-3.0, -2.0]),
                curve([-1.0, 0.5], n_latent=5, split="train"),
                curve([90.0, 20.0], dataset="frey", n_latent=2, n_train=1600),
                curve([2.0, 4.0], figure=3, method="mcem", n_train=1000),
            ]
        )
    )
    assert titles(found) == [
        "Figure 2, MNIST, AEVB",
        "Figure 2, Frey Face, AEVB",
        r"Figure 3, MNIST, $N_{\mathrm{train}} = 1000$",
    ]
    first = found.axes[0]
    lines = [line for line in first.lines if len(line.get_xdata()) == 2 and max(line.get_xdata()) > 1]
    assert [list(line.get_ydata()) for line in lines] == [[-3.0, -2.0], [-1.0, 0.5]]
    assert [line.get_linestyle() for line in lines] == ["--", "-"]
    assert (
        len(
            {
                line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
                for line in lines
            }
        )
        == 2
    )


def test_each_column_has_its_samples_below_where_the_last_row_is_not_full():
    kinds = [
        {"method": method, "dataset": name} for name in ("mnist", "frey") for method in ("aevb", "wake_sleep")
    ]
    found = distances(pd.concat([curve([1.0, 2.0], **kind) for kind in kinds[:3]]))
    *shown, off = found.axes
    assert [bool(axes.get_xlabel()) for axes in shown] == [False, True, True]
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in shown[1:])
    assert not off.axison


def test_grey_is_what_is_close():
    [axes] = [axes for axes in distances(curve([-3.0, -2.0])).axes if axes.get_title()]
    [band] = axes.patches
    close = closeness.close("mnist", "aevb")
    assert [band.get_y(), band.get_height()] == [-close, 2 * close]


def test_what_is_settled_is_in_sight_and_the_start_need_not_be():
    [axes] = [axes for axes in distances(curve([400.0, -7.0, 3.0], start=500_000)).axes if axes.get_title()]
    low, high = axes.get_ylim()
    assert -9 < low < -7
    assert 3 < high < 10
    short = distances(curve([40.0], start=100_000))  # a run that ends before
    assert short.axes[0].get_ylim()[1] > 40


def test_values_that_are_missing_are_left_out_and_without_any_the_figure_says_so():
    assert titles(distances(pd.concat([curve([np.nan]), curve([1.0], dataset="frey", n_latent=2)]))) == [
        "Figure 2, Frey Face, AEVB"
    ]
    for none in (curve([np.nan]), curve([1.0]).iloc[:0].astype(object)):
        [said] = distances(none).texts
        assert said.get_text().startswith("no curve of ours has reached")
