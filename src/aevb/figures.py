"""Figures 2 and 3 of the paper, ours in front and the paper's own curves thin behind.

Each function takes frames and returns a matplotlib Figure; `drawing.save` writes it. Values are nats per data
point, higher is better. A curve stops where one of its seeds diverged, and the panel says how many did.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from aevb import UserError
from aevb.curves import (
    CURVE,
    bands,
    figure2_curves,
    figure3_curves,
    figure3_differences,
    method_name,
    of_the_papers,
    over_seeds,
)
from aevb.datasets import DATASETS, dataset_name
from aevb.drawing import STYLE, draw_curve, method_colours

LINE_STYLES: dict[str, Any] = {"test": "--", "train": "-"}
PAPER_LINE: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.75}
REACH = 1.5  # paper heights that a panel may grow, downwards for a curve and upwards for an interval
HEADROOM = 0.02  # of them above the best of ours, where a panel grows upwards


class Window(NamedTuple):
    """The part of the plane that a panel shows: samples from left to right, nats from bottom to top."""

    left: float
    right: float
    bottom: float
    top: float


# The paper's axes, read off its vector figures.
FIGURE2_WINDOWS = {"mnist": Window(1e5, 2.5e8, -150, -95), "frey": Window(1e5, 1e8, 0, 1600)}
FIGURE3_WINDOWS = {
    ("mnist", 1000): Window(0, 60e6, -160, -100),
    ("mnist", 50_000): Window(0, 68e6, -160, -125),
}


def figure2(bounds: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Figure 2: the lower bound against training samples, one row of panels per data set, one panel per N_z.

    `bounds` and `paper` have the columns of bounds.csv and paper.csv; `curves.figure2_curves` says which rows
    count. Bands are 95 % t-intervals over seeds (of two: what lies between them). A row of panels shows the paper's
    window, grown where ours would be out of sight: to the left, to a tenth of our longest run; down, until the right
    half of every curve of ours is in sight (one that lies further down than REACH is named in the panel instead); up,
    over our best value. Data sets that the paper does not have show all of ours. Raises UserError when no run belongs
    to the figure.
    """
    ours = bands(over_seeds(figure2_curves(bounds))).query("samples > 0")
    paper = of_the_papers(paper, 2, bounds)
    colours = method_colours([*ours["method"], *paper["method"]])
    rows = _rows(ours, "n_latent")
    # The legend takes the empty place at the end of the last row, as in the paper.
    n_columns = max(max(map(len, rows.values())), len(rows[list(rows)[-1]]) + 1)
    with style.context(STYLE):
        figure = Figure(figsize=(2.3 * n_columns, 2.3 * len(rows)), layout="constrained")
        grid = figure.add_gridspec(len(rows), n_columns)
        for row, (dataset, panels) in enumerate(rows.items()):
            window = _figure2_window(dataset, ours[ours["dataset"] == dataset])
            for column, n_latent in enumerate(panels):
                axes = figure.add_subplot(grid[row, column], xscale="log")
                theirs = _panel(paper, dataset, n_latent=n_latent)
                mine = _panel(ours, dataset, n_latent=n_latent)
                _curves(axes, theirs, mine, colours, window)
                axes.set(xlim=window[:2], ylim=window[2:], xlabel="# Training samples evaluated")
                axes.set_title(f"{dataset_name(dataset)}, $N_z = {n_latent}$")
                if column == 0:
                    axes.set_ylabel(r"$\mathcal{L}$", fontsize=11)
                else:
                    axes.tick_params(labelleft=False)
        _legend(figure.add_subplot(grid[-1, -1]), colours, with_paper=len(paper) > 0)
    return figure


def figure3(marginal: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Figure 3: the estimated marginal likelihood against millions of training samples, one panel per N_train.

    `marginal` and `paper` have the columns of marginal_likelihood.csv and paper.csv; `curves.figure3_curves` says
    which cells and which evidence estimator count. Bands are 95 % t-intervals over seeds (of two: what lies between
    them); a single seed has bars of +-1.96 standard errors over data points. A panel shows the paper's window, except
    that it ends where ours end (or at twice the paper's first point, unless ours would then fill less than a fifth of
    it) and that it grows down and up as in `figure2`. A panel in which none of the paper's points is left says where
    they begin.
    Below each stands, where it was computed, what the paper's kernel density reports, on chains like those of the
    certified value that is drawn above, less that value. Raises UserError when no run belongs to the figure.
    """
    ours = bands(over_seeds(figure3_curves(marginal)))
    differences = bands(over_seeds(figure3_differences(marginal)))
    paper = of_the_papers(paper, 3, marginal)
    colours = method_colours([*ours["method"], *paper["method"]])
    rows = _rows(ours, "n_train")
    n_columns = max(map(len, rows.values()))
    with style.context(STYLE):
        of_a_row = [2.9, 1.4] if len(differences) else [2.9]
        heights = of_a_row * len(rows)
        figure = Figure(figsize=(3.4 * n_columns + 1.5, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(
            len(heights), n_columns + 1, width_ratios=[3.4] * n_columns + [1.5], height_ratios=heights
        )
        for row, (dataset, panels) in enumerate(rows.items()):
            for column, n_train in enumerate(panels):
                axes = figure.add_subplot(grid[row * len(of_a_row), column])
                theirs = _panel(paper, dataset, n_train=n_train)
                mine = _panel(ours, dataset, n_train=n_train)
                window = _figure3_window(dataset, n_train, mine, theirs)
                _curves(axes, _in_millions(theirs), _in_millions(mine), colours, window, "without a value")
                axes.set(xlim=(window.left / 1e6, window.right / 1e6), ylim=window[2:])
                axes.xaxis.set_major_locator(MaxNLocator(7))
                title = rf"$N_{{\mathrm{{train}}}} = {n_train}$"
                axes.set_title(title if dataset == "mnist" else f"{dataset_name(dataset)}, {title}")
                if len(theirs) and theirs["samples"].min() > window.right:
                    begin = f"the paper's curves begin at {theirs['samples'].min() / 1e6:.2g} million"
                    axes.text(0.98, 0.97, begin, transform=axes.transAxes, ha="right", va="top", fontsize=6)
                lowest = axes
                if len(differences):
                    lowest = figure.add_subplot(grid[2 * row + 1, column], sharex=axes)
                    _differences(lowest, _in_millions(_panel(differences, dataset, n_train=n_train)), colours)
                lowest.set_xlabel("# Training samples evaluated (millions)")
                if column == 0:
                    axes.set_ylabel("Marginal log-likelihood")
                    if lowest is not axes:
                        lowest.set_ylabel("kernel density\n- certified")
        _legend(figure.add_subplot(grid[0, -1]), colours, with_paper=len(paper) > 0)
    return figure


def _differences(axes: Axes, curves: pd.DataFrame, colours: dict[str, str]) -> None:
    axes.axhline(0, color="black", linewidth=0.5)
    for (method, split), curve in curves.groupby(["method", "split"]):
        draw_curve(axes, curve, LINE_STYLES[str(split)], colours[str(method)])


def _rows(ours: pd.DataFrame, by: str) -> dict[str, list[int]]:
    """The panels to draw: for each data set, in the paper's order, the values of column `by`."""
    present = list(ours["dataset"].unique())
    if not present:
        raise UserError("none of the runs belongs to this figure; aevb.curves says which cells it shows")
    order = [dataset for dataset in DATASETS if dataset in present] + sorted(set(present) - set(DATASETS))
    return {dataset: sorted(ours.loc[ours["dataset"] == dataset, by].unique()) for dataset in order}


def _panel(curves: pd.DataFrame, dataset: str, **column: int) -> pd.DataFrame:
    [(name, value)] = column.items()
    return curves[(curves["dataset"] == dataset) & (curves[name] == value)]


def _in_millions(curves: pd.DataFrame) -> pd.DataFrame:
    return curves.assign(samples=curves["samples"] / 1e6)


def _figure2_window(dataset: str, ours: pd.DataFrame) -> Window:
    first, last = ours["samples"].min(), ours["samples"].max()
    if dataset not in FIGURE2_WINDOWS:
        return Window(first / 1.2, last * 1.2, *_extent(ours))
    window = FIGURE2_WINDOWS[dataset]
    left = min(window.left, last / 10)
    return _taller(window._replace(left=left), ours[ours["samples"] >= left], np.log)


def _figure3_window(dataset: str, n_train: int, ours: pd.DataFrame, paper: pd.DataFrame) -> Window:
    last = ours["samples"].max()
    if (dataset, n_train) not in FIGURE3_WINDOWS:
        return Window(0, 1.05 * last, *_extent(ours))
    window = FIGURE3_WINDOWS[dataset, n_train]
    needed, start = 1.05 * last, 2 * paper["samples"].min()
    if needed < start <= 5 * last:
        needed = start
    return _taller(window._replace(right=min(window.right, needed)), ours, pd.to_numeric)


def _taller(window: Window, ours: pd.DataFrame, place: Callable[[pd.Series], pd.Series]) -> Window:
    """Lower the bottom until the right half of every curve is in sight; raise the top above the best of ours and,
    within REACH, the intervals of the right half.

    `place` says where on the axis a number of samples stands, up to scale: log or linear.
    """
    finite = ours.dropna(subset="nats")
    position = place(finite["samples"])
    ends = position.groupby([finite[name] for name in CURVE]).transform("max")
    starts = place(pd.Series(window.left)).item()
    right_half = finite[position >= (starts + ends) / 2]
    # what lies far outside would flatten everything else; the panel names a curve that does instead
    reach = REACH * (window.top - window.bottom)
    bottom = min([window.bottom, *(nats for nats in right_half["nats"] if nats >= window.bottom - reach)])
    best = max(
        [*finite["nats"], *(high for high in right_half["high"] if high <= window.top + reach)],
        default=window.top,
    )
    headroom = HEADROOM * (window.top - window.bottom)
    return window._replace(bottom=bottom, top=best + headroom if best > window.top else window.top)


def _extent(ours: pd.DataFrame) -> tuple[float, float]:
    low, high = ours["nats"].min(), ours["nats"].max()
    if not np.isfinite(low):
        return 0.0, 1.0  # every seed diverged: an empty panel that says so
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _curves(
    axes: Axes,
    theirs: pd.DataFrame,
    ours: pd.DataFrame,
    colours: dict[str, str],
    window: Window,
    lost: str = "diverged",
) -> None:
    """Draw one panel: the paper's curves thin, ours in front with their intervals.

    lost: what is said of seeds that have no value at their last point.
    """
    for (method, split), curve in theirs.groupby(["method", "split"]):
        line: dict[str, Any] = {"linestyle": LINE_STYLES[str(split)], "color": colours[str(method)]}
        axes.plot(curve["samples"], curve["nats"], **line, **PAPER_LINE)
    for (method, split), curve in ours.groupby(["method", "split"]):
        draw_curve(axes, curve, LINE_STYLES[str(split)], colours[str(method)])
    stopped = ours[ours["n_diverged"] > 0].groupby("method", sort=False)[["n_diverged", "n_seeds"]].max()
    notes = [
        f"{method_name(str(method))}: {diverged} of {seeds} seeds {lost}"
        for method, diverged, seeds in stopped.itertuples()
    ]
    holes = ours[(ours["n_diverged"] == 0) & ours["nats"].isna()]
    notes += [
        f"{method_name(method)} ({split}): {n} {'value' if n == 1 else 'values'} refused"
        for method, split, n in holes.value_counts(["method", "split"], sort=False).reset_index().to_numpy()
    ]
    best = ours.groupby("method")["nats"].max()
    notes += [
        f"{method_name(str(method))} is below the panel, at {nats:.0f}"
        for method, nats in best.items()
        if nats < window.bottom
    ]
    _note(axes, "\n".join(notes))


def _note(axes: Axes, text: str) -> None:
    """In the lower right corner, on a pale plate, since a curve may pass behind."""
    plate = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
    axes.text(0.97, 0.03, text, fontsize=6, bbox=plate, zorder=5, **place)


def _legend(axes: Axes, colours: dict[str, str], with_paper: bool) -> None:
    """Fill an empty place of the grid with the legend, in the paper's words."""
    axes.set_axis_off()
    entries = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=LINE_STYLES[split],
            label=f"{method_name(method)} ({split})",
        )
        for method, colour in colours.items()
        for split in ["test", "train"]
    ]
    if with_paper:
        entries.append(Line2D([], [], color="black", label="the paper's curve", **PAPER_LINE))
    axes.legend(handles=entries, loc="center")
