"""From rounds to the table and the figure: medians and ranges over rounds, ratios within a round."""

import math
from typing import NamedTuple

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aevb.curves import method_name
from aevb.datasets import dataset_name
from aevb.drawing import STYLE
from measure import LINEAR


class Mode(NamedTuple):
    """How a mode is drawn: its words, its mark, and where on a contestant's row it stands."""

    label: str
    marker: str
    filled: bool
    offset: float


MODES = {
    "one_core": Mode("one core, one thread", "o", True, -0.13),
    "all_cores": Mode("all cores, the library's own threads", "o", False, 0.13),
    "cells": Mode("one independent run on each core", "D", False, 0.37),
}
COLOURS = {"suite": "red", "floor": "grey"}
TASK = ["task", "dataset", "estimator", "mode", "cores"]
CONTESTANT = [*TASK, "contestant", "version", "unit"]
COLUMNS = [
    "task", "dataset", "estimator", "mode", "cores", "contestant", "version", "rounds", "unit", "median", "low",
    "high", "suite_over_this", "ratio_low", "ratio_high", "share_of_floor", "startup_seconds", "machine", "device",
]  # fmt: skip


def summary(rounds: pd.DataFrame, machine: str) -> pd.DataFrame:
    """One row per task and contestant: the median throughput and its range over rounds, and ratios of neighbours.

    suite_over_this is the median, ratio_low and ratio_high the range, over rounds of the suite's throughput over
    this contestant's in the same round; share_of_floor the median of this contestant's over the floor's. In mode
    "cells" the suite is n copies at once and "linear" n times one copy alone.
    """
    rounds = rounds.assign(
        ratio=_of(rounds, "suite") / rounds["throughput"], share=rounds["throughput"] / _of(rounds, "floor")
    )
    table = rounds.groupby(CONTESTANT, sort=False, as_index=False).agg(
        rounds=("round", "count"),
        median=("throughput", "median"),
        low=("throughput", "min"),
        high=("throughput", "max"),
        suite_over_this=("ratio", "median"),
        ratio_low=("ratio", "min"),
        ratio_high=("ratio", "max"),
        share_of_floor=("share", "median"),
        startup_seconds=("startup_seconds", "first"),
    )
    return table.assign(machine=machine, device="cpu")[COLUMNS]


def _of(rounds: pd.DataFrame, contestant: str) -> pd.Series:
    """That contestant's throughput in the same task and round, row by row; NaN where it does not take part."""
    key = [*TASK, "round"]
    its = rounds.loc[rounds["contestant"] == contestant, [*key, "throughput"]]
    return rounds[key].merge(its, how="left", on=key)["throughput"].set_axis(rounds.index)


# ------------------------------------------------------------------------------------------------------- figure


def figure(table: pd.DataFrame) -> Figure:
    """Throughputs side by side, a panel per task: medians, whiskers over rounds, and the suite's ratio to each.

    `table` has the columns of `summary`. A panel's rows are its contestants; marks tell the modes apart.
    """
    tasks = list(table.groupby(["task", "dataset", "estimator"], sort=False))
    n_columns = math.ceil((len(tasks) + 1) / 2)  # and one place for the legend
    heights = [max((rows["contestant"].nunique() for _, rows in tasks[n::2]), default=1) for n in range(2)]
    with style.context(STYLE):
        page = Figure(figsize=(2.9 * n_columns, 0.24 * sum(heights) + 1.4), layout="constrained")
        grid = page.add_gridspec(2, n_columns, height_ratios=heights)
        for n, ((_, dataset, estimator), rows) in enumerate(tasks):
            axes = page.add_subplot(grid[n % 2, n // 2])
            _panel(axes, rows)
            method = "HMC" if estimator == "hmc" else method_name(estimator)
            axes.set_title(f"{method}, {dataset_name(dataset)}", loc="left")
        _legend(page.add_subplot(grid[-1, -1]), list(table["mode"].unique()))
    return page


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    names = [name for name in rows["contestant"].unique() if name != LINEAR]
    unit = "million leapfrog steps/s" if rows["task"].iloc[0] == "hmc" else "thousand samples/s"
    scale = 1e6 if rows["task"].iloc[0] == "hmc" else 1e3
    for row in rows[rows["contestant"] != LINEAR].itertuples():
        mode = MODES[row.mode]
        reach = [[(row.median - row.low) / scale], [(row.high - row.median) / scale]]
        colour = COLOURS.get(row.contestant, "black")
        look = {"color": colour, "marker": mode.marker, "markerfacecolor": colour if mode.filled else "white"}
        axes.errorbar(row.median / scale, names.index(row.contestant) + mode.offset, xerr=reach, **look)
    alone = rows[rows["mode"] == "one_core"].set_index("contestant")
    if "floor" in alone.index:
        axes.axvline(alone.loc["floor", "median"] / scale, color=COLOURS["floor"], linewidth=0.5, zorder=0)
    axes.text(1.03, 1.03, "suite ÷", transform=axes.transAxes, fontsize=6)
    for y, name in enumerate(names):
        ratio = "" if name == "suite" else f"{alone.loc[name, 'suite_over_this']:.2f}"
        axes.text(1.03, y, ratio, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, None), ylim=(len(names) - 0.5, -0.5), xlabel=unit)


def _legend(axes: Axes, modes: list[str]) -> None:
    axes.set_axis_off()
    marks = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=mode.marker,
            color="black",
            label=mode.label,
            markerfacecolor="black" if mode.filled else "white",
        )
        for name, mode in MODES.items()
        if name in modes
    ]
    axes.legend(handles=marks, loc="center left")
