"""Pictures of a comparison: the bounds along training, and the paired differences with their intervals."""

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aevb.comparison import CELL
from aevb.curves import bands, method_name, over_seeds
from aevb.datasets import dataset_name
from aevb.drawing import STYLE, draw_curve, draw_interval, method_colours

TESTED = {"bound": "lower bound", "log_likelihood": "certified $\\log p(x)$"}
OPEN = "no verdict, or no difference shown"
VERDICTS = {"better": "green", "worse": "red", OPEN: "black"}
CLEAR = 0.1  # nats: the forest's axis is linear within, logarithmic beyond
REACH = 4  # times the middle method's distance from the best: one that ends further down is named, not drawn
ROW = 0.26  # inches per line of the forest
BELOW = 0.5  # times the range of the ends, shown below the lowest: all of the rise would hide how they part


def curves(table: pd.DataFrame) -> Figure:
    """comparison_curves.csv: the bound on the test set against training samples, a panel per data set.

    Means over seeds with 95 % t-intervals (of two seeds: what lies between them), from a hundredth of the run on. A
    method far below the others is named.
    """
    rows = table.rename(columns={"estimator": "method", "bound": "nats"}).assign(split="test", error=np.nan)
    colours = method_colours(rows["method"])
    cells = [(cell, bands(over_seeds(mine))) for cell, mine in rows.groupby(CELL, sort=False)]
    with style.context(STYLE):
        figure = Figure(figsize=(4.2 * len(cells) + 2.2, 3.4), layout="constrained")
        for axes, (cell, mine) in zip(figure.subplots(1, len(cells), squeeze=False)[0], cells, strict=True):
            shown = mine[mine["samples"] >= mine["samples"].max() / 100]
            far = _ends_far_below(shown)
            shown = shown[~shown["method"].isin(far.index)]
            for method, curve in shown.groupby("method", sort=False):
                draw_curve(axes, curve, "-", colours[str(method)])
            notes = [f"{method_name(str(name))} ends below, at {nats:.0f}" for name, nats in far.items()]
            axes.text(0.97, 0.03, "\n".join(notes), transform=axes.transAxes, ha="right", fontsize=7)
            _frame(axes, shown)
            axes.set(
                xscale="log", xlabel="# Training samples evaluated", ylabel="lower bound on the test set"
            )
            axes.set_title(_title(dict(zip(CELL, cell, strict=True))))
        handles = [
            Line2D([], [], color=colour, label=method_name(method)) for method, colour in colours.items()
        ]
        figure.legend(handles=handles, loc="outside right center")
    return figure


def forest(table: pd.DataFrame) -> Figure:
    """comparison.csv: method - baseline in nats with its 95 % interval, a line per method; panels per data set.

    Filled where Holm's adjusted p-value is below 5 %; a method without a value has its reason instead.
    """
    rows = table[table["metric"].isin(TESTED)]
    cells = list(rows.groupby(CELL, sort=False))
    heights = [mine["estimator"].nunique() for _, mine in cells]
    with style.context(STYLE):
        figure = Figure(figsize=(8.0, ROW * sum(heights) + 1.0 * len(cells)), layout="constrained")
        grid = figure.subplots(len(cells), len(TESTED), height_ratios=heights, squeeze=False, sharey="row")
        for line, (cell, mine) in zip(grid, cells, strict=True):
            for axes, (metric, name) in zip(line, TESTED.items(), strict=True):
                _forest_panel(axes, mine[mine["metric"] == metric])
                axes.set_title(f"{_title(dict(zip(CELL, cell, strict=True)))}: {name}", loc="left")
        above = f"nats per test point above {method_name(rows['baseline'].iloc[0])}"
        figure.supxlabel(f"{above}; logarithmic beyond $\\pm${CLEAR:g}", fontsize=9)
        figure.legend(
            handles=[_mark(*known) for known in VERDICTS.items()], loc="outside upper center", ncols=3
        )
    return figure


def _mark(verdict: str, colour: str) -> Line2D:
    face = colour if verdict != OPEN else "white"
    return Line2D(
        [], [], color=colour, marker="o", markersize=4, markerfacecolor=face, linewidth=0.9, label=verdict
    )


def _forest_panel(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axvline(0, color="black", linewidth=0.5, zorder=0)
    for place, (_, row) in enumerate(rows.iterrows()):
        if not np.isfinite(row["difference"]):
            along = axes.get_yaxis_transform()  # a share of the panel's width, at this line
            axes.text(0.02, place, row["verdict"], transform=along, fontsize=6, va="center")
            continue
        said = row["verdict"] if row["verdict"] in VERDICTS else OPEN
        draw_interval(axes, row, "difference", place, VERDICTS[said], hollow=said == OPEN)
    axes.set_yticks(range(len(rows)), [method_name(name) for name in rows["estimator"]], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=CLEAR, linscale=0.7)
    axes.margins(x=0.08)
    axes.grid(axis="y", alpha=0.2)


def _ends_far_below(rows: pd.DataFrame) -> pd.Series:
    """Where the methods end that would flatten all others, by method."""
    ends = rows.sort_values("samples").groupby("method")["nats"].last().dropna()
    return ends[ends < ends.max() - REACH * (ends.max() - ends.median())]


def _frame(axes: Axes, rows: pd.DataFrame) -> None:
    """The range in which the methods end, and a part of the way there."""
    ends = rows.sort_values("samples").groupby("method")["nats"].last()
    best, worst = rows["nats"].max(), ends.min()
    if np.isfinite([best, worst]).all() and best > worst:
        low = worst - BELOW * (best - worst)
        axes.set_ylim(low, best + 0.1 * (best - worst))
        seen = rows.loc[rows["nats"] >= low, "samples"]
        axes.set_xlim(seen.min() / 1.2, seen.max() * 1.1)


def _title(cell: dict[str, object]) -> str:
    return f"{dataset_name(str(cell['dataset']))}, $N_z = {cell['n_latent']}$, {cell['n_hidden']} hidden"
