"""variances.py: what the figure of the gradients' variance shows."""

import itertools

import pandas as pd

from aevb import variances
from aevb.drawing import METHOD_COLOURS

ESTIMATORS = {"aevb": 1.0, "score_function": 1e4, "new": 3.0}  # with their variances relative to SGVB-B's


def table(datasets=("mnist", "frey"), moments=(0, 20_000, 1_000_000), sizes=(1, 5, 50)):
    rows = []
    for dataset, part, samples, n in itertools.product(datasets, ("encoder", "decoder"), moments, sizes):
        for name, ratio in ESTIMATORS.items():
            variance = ratio * 2 / n
            rows.append(
                {"dataset": dataset, "part": part, "samples": samples, "n_samples": n, "variance": variance}
                | {"gradient_estimator": name, "relative_variance": ratio, "relative_variance_error": 0.1}
                | {"snr": variance**-0.5, "snr_low": 0.0, "snr_high": 2 * variance**-0.5}
                | {"data_variance": 1.0}
            )
    return pd.DataFrame(rows)


def labels(axes):
    return [tick.get_text() for tick in axes.get_xticklabels()]


def test_there_are_two_rows_of_panels_for_each_dataset():
    figure = variances.gradient_variance(table())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    names = ["MNIST, encoder", "MNIST, decoder"] * 2 + ["Frey Face, encoder", "Frey Face, decoder"] * 2
    assert titles == names
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    assert len(variances.gradient_variance(table(datasets=["digits"])).axes) == 4


def test_every_moment_has_its_numbers_of_draws():
    figure = variances.gradient_variance(table())
    group = ["1", "5\n{}", "50"]
    moments = ["start", r"$2\times 10^4$", "$10^6$"]
    expected = [label.format(moment) for moment in moments for label in group]
    assert all(labels(axes) == expected for axes in figure.axes)


def test_each_estimator_has_a_line_for_each_moment_in_its_colour():
    axes = variances.gradient_variance(table()).axes[0]
    bars = [container.lines[0] for container in axes.containers]
    assert len(bars) == 3 * len(ESTIMATORS)
    ours = [line for line in bars if line.get_color() == METHOD_COLOURS["aevb"]]
    assert len(ours) == 3
    assert all((line.get_ydata() == 1).all() for line in ours)


def test_the_noise_of_the_data_is_on_the_scale_of_sgvb_bs_variance():
    axes = variances.gradient_variance(table(datasets=["mnist"], moments=[0])).axes[0]
    dashes = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2]
    assert [list(dash) for dash in dashes] == [[0.5, 0.5], [2.5, 2.5], [25, 25]]  # 1 / (2 / L)


def test_the_legend_names_an_estimator_that_has_no_marker_yet():
    [legend] = variances.gradient_variance(table()).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["SGVB-B (AEVB)", "score function", "new", "minibatch to minibatch"]
