"""The figures: layout, colours, windows and files. What they look like is for eyes; what they say is tested here."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from aevb import UserError, drawing, figures, galleries
from aevb.intervals import of_mean

PAPER = pd.read_csv(Path(__file__).parents[1] / "results/reference/paper.csv")
MNIST = {"dataset": "mnist", "n_hidden": 500, "n_train": 50_000}
FREY = {"dataset": "frey", "n_hidden": 200, "n_train": 1600}
RED, GREEN, BLUE = to_hex("red"), to_hex("green"), to_hex("blue")


def bounds(cell, n_latent, values, seeds=1, methods=("aevb", "wake_sleep"), last=1e6):
    """Curves of every method and split at len(values) points up to `last`."""
    samples = np.geomspace(last / 1e3, last, len(values))
    curves = [
        pd.DataFrame({"seed": seed, "samples": samples, "bound": np.add(values, 0.1 * seed)}).assign(
            **cell, n_latent=n_latent, estimator=method, split=split, seconds=1.0
        )
        for seed in range(seeds)
        for method in methods
        for split in ["train_running", "train", "test"]
    ]
    return pd.concat(curves, ignore_index=True)


def marginal(n_train, values, seeds=1, last=1e6, dataset="mnist"):
    cell = {"dataset": dataset, "n_hidden": 100, "n_train": n_train}
    rows = bounds(cell, 3, values, seeds, ["aevb", "wake_sleep", "mcem"], last).query(
        "split != 'train_running'"
    )
    return rows.rename(columns={"bound": "log_likelihood"}).assign(
        evidence_estimator="appendix_d_robust", std_error=0.1, std_error_points=0.5
    )


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def lines(axes, colour, style, thin=False):
    width = figures.PAPER_LINE["linewidth"]
    return [
        line
        for line in axes.lines
        if to_hex(line.get_color()) == colour
        and line.get_linestyle() == style
        and (line.get_linewidth() == width) == thin
    ]


VALUES = np.linspace(-300, -140, 20)


@pytest.fixture(scope="module")
def figure2():
    mnist = [bounds(MNIST, n_latent, VALUES, seeds=2) for n_latent in (3, 5, 10, 20, 200)]
    frey = [bounds(FREY, n_latent, VALUES + 800) for n_latent in (2, 5, 10, 20)]
    return figures.figure2(pd.concat([*frey, *mnist]), PAPER)


def test_figure2_has_the_papers_panels(figure2):
    titles = [f"MNIST, $N_z = {n}$" for n in (3, 5, 10, 20, 200)] + [
        f"Frey Face, $N_z = {n}$" for n in (2, 5, 10, 20)
    ]
    assert [axes.get_title() for axes in panels(figure2)] == titles
    assert all(axes.get_xscale() == "log" for axes in panels(figure2))
    assert all(axes.get_xlabel() == "# Training samples evaluated" for axes in panels(figure2))
    assert [axes.get_ylabel() for axes in panels(figure2)] == [r"$\mathcal{L}$"] + 4 * [""] + [
        r"$\mathcal{L}$"
    ] + 3 * [""]


def test_figure2_has_the_papers_legend_in_the_empty_place(figure2):
    *_, place = figure2.axes
    assert [text.get_text() for text in place.get_legend().get_texts()] == [
        "AEVB (test)",
        "AEVB (train)",
        "Wake-Sleep (test)",
        "Wake-Sleep (train)",
        "the paper's curve",
    ]
    assert place.get_subplotspec().colspan.start == 4
    assert place.get_subplotspec().rowspan.start == 1


@pytest.mark.parametrize("style", ["-", "--"])
@pytest.mark.parametrize("colour", [RED, GREEN])
def test_figure2_draws_ours_and_the_papers_once_each(figure2, colour, style):
    for axes in panels(figure2):
        assert len(lines(axes, colour, style)) == 1
        assert len(lines(axes, colour, style, thin=True)) == 1


def test_where_one_seed_went_further_its_line_is_thinner_and_its_interval_is_no_part_of_the_band():
    curve = pd.DataFrame(
        {"samples": [1, 2, 3, 4], "nats": [-4.0, -3.0, -2.0, -1.0], "n_seeds": [3, 3, 1, 1]}
    ).assign(low=-5.0, high=0.0)
    axes = Figure().subplots()
    drawing.draw_curve(axes, curve, "-", "red")
    whole, rest = axes.lines
    assert [list(line.get_xdata()) for line in (whole, rest)] == [[1, 2], [2, 3, 4]]
    assert rest.get_linewidth() < whole.get_linewidth()
    [band] = [artist for artist in axes.collections if isinstance(artist, PolyCollection)]
    assert set(band.get_paths()[0].vertices[:, 0]) == {1, 2}
    [bars] = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
    assert [segment[0][0] for segment in bars.get_segments()] == [3, 4]


def test_one_point_of_several_seeds_has_a_bar():
    curve = pd.DataFrame(
        {"samples": [63.0], "nats": [-147.0], "n_seeds": [3], "low": [-151.0], "high": [-143.0]}
    )
    axes = Figure().subplots()
    drawing.draw_curve(axes, curve, "-", "red")
    [bars] = axes.collections
    assert [segment.tolist() for segment in bars.get_segments()] == [[[63.0, -151.0], [63.0, -143.0]]]


def test_bands_only_where_there_are_seeds(figure2):
    bands = [
        sum(isinstance(artist, PolyCollection) for artist in axes.collections) for axes in panels(figure2)
    ]
    assert bands == 5 * [4] + 4 * [0]


def test_figure2_keeps_the_papers_window_where_ours_is_in_it():
    long = bounds(MNIST, 3, np.linspace(-140, -120, 10), last=2e8)
    [axes] = panels(figures.figure2(long, PAPER))
    assert axes.get_xlim() == (1e5, 2.5e8)
    assert axes.get_ylim() == (-150, -95)


def test_figure2_grows_for_short_and_bad_curves():
    [axes] = panels(figures.figure2(bounds(MNIST, 3, np.full(10, -230.0), last=2e4), PAPER))
    assert axes.get_xlim() == (2e3, 2.5e8)
    assert axes.get_ylim() == (-230, -95)
    assert axes.texts[0].get_text() == ""
    [axes] = panels(figures.figure2(bounds(FREY, 2, np.full(10, 1700.0), last=1e8), PAPER))
    assert axes.get_ylim() == (0, 1700 + figures.HEADROOM * 1600)


def test_a_panel_grows_up_for_late_intervals_but_not_for_early_or_absurd_ones():
    rows = bounds(MNIST, 3, np.full(10, -97.0), seeds=3, methods=["aevb"], last=1e8)

    def top(first, last, apart):
        """With a seed that lies apart from two others at some of ten points; and the mean and its interval there."""
        wide = rows.copy()
        places = sorted(rows["samples"].unique())[first:last]
        wide.loc[wide["samples"].isin(places) & wide["seed"].eq(1), "bound"] += apart
        [axes] = panels(figures.figure2(wide, PAPER))
        there = wide[(wide["samples"] == places[-1]) & (wide["split"] == "test")]
        return axes.get_ylim()[1] - figures.HEADROOM * 55, *of_mean(there["bound"])

    assert top(0, 3, 2.0)[0] == pytest.approx(-95 - figures.HEADROOM * 55)
    shown, _, _, high = top(9, 10, 10.0)
    assert shown == pytest.approx(high)
    shown, mean, _, high = top(9, 10, 200.0)
    assert high > 200
    assert shown == pytest.approx(mean)


def test_a_curve_far_below_is_named_and_flattens_nothing():
    far = bounds(MNIST, 3, np.full(10, -1e4), methods=["wake_sleep"])
    [axes] = panels(figures.figure2(pd.concat([bounds(MNIST, 3, VALUES, methods=["aevb"]), far]), PAPER))
    bottom, top = axes.get_ylim()
    assert -150 - figures.REACH * 55 <= bottom <= -150
    assert top == -95
    assert axes.texts[0].get_text() == "Wake-Sleep is below the panel, at -10000"


def test_a_data_set_without_curves_in_the_paper_shows_all_of_ours():
    digits = {"dataset": "digits", "n_hidden": 50, "n_train": 1437}
    figure = figures.figure2(bounds(digits, 2, [-50.0, -40.0, -30.0]), PAPER)
    [axes] = panels(figure)
    assert axes.get_title() == "digits, $N_z = 2$"
    assert axes.get_ylim() == (-51, -29)
    assert len(axes.lines) == 4
    assert "the paper's curve" not in [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]


def test_a_diverged_seed_ends_the_curve_and_is_named():
    rows = bounds(MNIST, 3, VALUES, seeds=3)
    rows.loc[(rows["seed"] == 1) & (rows["samples"] > 3e5) & (rows["estimator"] == "aevb"), "bound"] = np.nan
    [axes] = panels(figures.figure2(rows, PAPER))
    assert [text.get_text() for text in axes.texts] == ["AEVB: 1 of 3 seeds diverged"]
    samples, nats = lines(axes, RED, "--")[0].get_data()
    assert np.isnan(nats[samples > 3e5]).all()
    assert np.isfinite(nats[samples <= 3e5]).all()


def test_a_refused_value_is_a_hole_that_the_panel_names():
    frame = marginal(1000, VALUES)
    refused = (frame["estimator"] == "mcem") & (frame["split"] == "test") & (frame["samples"] < 2e4)
    n_refused = frame.loc[refused, "samples"].nunique()
    frame.loc[refused, "log_likelihood"] = np.nan
    [axes] = panels(figures.figure3(frame, PAPER))
    assert axes.texts[0].get_text() == f"MCEM (test): {n_refused} values refused"
    frame = frame[~(refused & (frame["samples"] > frame["samples"].min()))]
    [axes] = panels(figures.figure3(frame, PAPER))
    assert axes.texts[0].get_text() == "MCEM (test): 1 value refused"


def test_every_seed_diverged_from_the_start():
    [axes] = panels(figures.figure2(bounds(MNIST, 3, [np.nan, np.nan], seeds=2), PAPER))
    assert axes.texts[0].get_text().count("2 of 2 seeds diverged") == 2
    assert axes.get_ylim() == (-150, -95)


def test_an_estimator_of_the_reader_gets_a_colour_of_its_own():
    rows = bounds(MNIST, 3, VALUES, methods=("aevb", "mine"))
    figure = figures.figure2(rows, PAPER)
    assert len(lines(panels(figure)[0], to_hex(drawing.OTHER_COLOURS[0]), "--")) == 1
    assert "mine (test)" in [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]


def test_no_run_of_the_figure_is_an_error_for_the_user():
    with pytest.raises(UserError, match="none of the runs"):
        figures.figure2(bounds(MNIST, 3, VALUES).iloc[:0], PAPER)
    with pytest.raises(UserError, match="none of the runs"):
        figures.figure3(marginal(1000, VALUES).iloc[:0], PAPER)


def test_figure3_has_the_papers_panels_and_colours():
    rows = pd.concat([marginal(n, np.linspace(-155, -130, 6), last=6.8e7) for n in (50_000, 1000)])
    figure = figures.figure3(rows, PAPER)
    small, large = panels(figure)
    assert small.get_title() == r"$N_{\mathrm{train}} = 1000$"
    assert large.get_title() == r"$N_{\mathrm{train}} = 50000$"
    assert small.get_ylabel() == "Marginal log-likelihood"
    assert [small.get_xlim(), small.get_ylim()] == [(0, 60), (-160, -100)]
    assert [large.get_xlim(), large.get_ylim()] == [(0, 68), (-160, -125)]
    for colour in [RED, GREEN, BLUE]:
        for style in ["-", "--"]:
            assert len(lines(small, colour, style)) == len(lines(small, colour, style, thin=True)) == 1
    assert len(small.containers) == 6  # error bars of a single seed
    assert len(figure.axes[-1].get_legend().get_texts()) == 7


@pytest.mark.parametrize(
    ("n_train", "last", "right", "note"),
    [
        (1000, 1e6, 1.05, ""),
        (50_000, 1e6, 3.576, ""),  # as far as twice the paper's first point, at 1.788 million
        (50_000, 2e4, 0.021, "the paper's curves begin at 1.8 million"),
    ],
)
def test_figure3_ends_where_ours_end(n_train, last, right, note):
    [axes] = panels(figures.figure3(marginal(n_train, np.full(4, -180.0), last=last), PAPER))
    assert axes.get_xlim()[1] == pytest.approx(right, rel=1e-3)
    assert axes.get_ylim()[0] == -180
    assert "".join(text.get_text() for text in axes.texts) == note


def test_figure3_shows_seeds_as_bands_and_other_data_sets_by_name():
    figure = figures.figure3(marginal(100, [-40.0, -30.0], seeds=2, dataset="digits"), PAPER)
    [axes] = panels(figure)
    assert axes.get_title() == r"digits, $N_{\mathrm{train}} = 100$"
    assert sum(isinstance(artist, PolyCollection) for artist in axes.collections) == 6
    assert not axes.containers


def test_files_are_the_same_byte_for_byte(tmp_path):
    for run in ["first", "second"]:
        rows = bounds(MNIST, 3, VALUES, seeds=2)
        drawing.save(figures.figure2(rows, PAPER), tmp_path / run)
        drawing.save(
            galleries.figure5({("mnist", 2): np.eye(8)[None].repeat(100, 0)}), tmp_path / f"{run}-images"
        )
    for first in sorted(tmp_path.glob("first*")):
        assert first.read_bytes() == first.with_name(first.name.replace("first", "second")).read_bytes()
    assert sorted(path.name for path in tmp_path.glob("first.*")) == ["first.pdf", "first.png", "first.svg"]
    assert b"CreationDate" not in (tmp_path / "first.pdf").read_bytes()
