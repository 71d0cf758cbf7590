"""How close our curves are to the paper's along training, as a figure: the difference, a panel a kind of curve.

Values are nats per data point. Where ours are the paper's, all lines lie on zero.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aevb.closeness import close
from aevb.curves import method_name
from aevb.datasets import dataset_name
from aevb.drawing import FEW_POINTS, STYLE, method_colours
from aevb.figures import LINE_STYLES

KINDS: list[dict[str, Any]] = [  # a panel each, and beyond what names its rows, what tells its curves apart
    {"figure": 2, "dataset": "mnist", "method": "aevb"},
    {"figure": 2, "dataset": "mnist", "method": "wake_sleep"},
    {"figure": 2, "dataset": "frey", "method": "aevb"},
    {"figure": 2, "dataset": "frey", "method": "wake_sleep"},
    {"figure": 3, "dataset": "mnist", "n_train": 1000},
    {"figure": 3, "dataset": "mnist", "n_train": 50_000},
]
COLUMNS = 2
SETTLED = (
    1_000_000  # from here on a curve has to be in sight: what is before depends on how reports are spaced
)


def distances(comparison: pd.DataFrame) -> Figure:
    """Ours less the paper's against training samples, from the columns of paper_comparison.csv.

    A panel for each of KINDS that has a row. Grey is what `closeness.close` calls close. Train is solid and test
    dashed; colours are N_z in Figure 2 and methods in Figure 3. Where there is no row the figure says so.
    """
    kinds = [(kind, rows) for kind in KINDS if len(rows := _of(comparison, kind))]
    if not kinds:
        empty = Figure(figsize=(3.4 * COLUMNS, 1))
        empty.text(0.5, 0.5, "no curve of ours has reached a point of the paper's yet", ha="center")
        return empty
    shown = pd.concat([rows for _, rows in kinds])
    sizes = sorted(shown.loc[shown["figure"] == 2, "n_latent"].unique())
    shades = dict(zip(sizes, colormaps["viridis"](np.linspace(0, 0.9, len(sizes))), strict=True))
    n_rows = -(-len(kinds) // COLUMNS)
    with style.context(STYLE):
        figure = Figure(figsize=(3.4 * COLUMNS + 1, 2.1 * n_rows), layout="constrained")
        all_axes = figure.subplots(n_rows, COLUMNS, sharex=True, squeeze=False).ravel()
        for axes, (kind, rows) in zip(all_axes, kinds, strict=False):
            if kind["figure"] == 2:
                by, colours, what = "n_latent", shades, method_name(kind["method"])
            else:
                what = rf"$N_{{\mathrm{{train}}}} = {kind['n_train']}$"
                by, colours = "method", method_colours(rows["method"])
            _curves(axes, rows, by, colours)
            axes.set_title(f"Figure {kind['figure']}, {dataset_name(kind['dataset'])}, {what}")
        for axes in all_axes[len(kinds) :]:
            axes.set_axis_off()
        all_axes[0].set(xscale="log", xlim=(shown["samples"].min() / 1.1, 1.1 * shown["samples"].max()))
        for axes in all_axes[::COLUMNS]:
            axes.set_ylabel("ours - the paper's (nats)")
        for axes in all_axes[: len(kinds)][-COLUMNS:]:  # the lowest of each column
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("# Training samples evaluated")
    return figure


def _of(comparison: pd.DataFrame, kind: dict[str, Any]) -> pd.DataFrame:
    rows = comparison[comparison[list(kind)].eq(list(kind.values())).all(axis=1)]
    return rows[rows["difference"].notna()]


def _curves(axes: Axes, rows: pd.DataFrame, by: str, colours: dict[Any, Any]) -> None:
    band = close(*rows[["dataset", "method"]].iloc[0])
    axes.axhspan(-band, band, color="0.88", linewidth=0)
    axes.axhline(0, color="black", linewidth=0.5)
    for (name, split), curve in rows.groupby([by, "split"]):
        line: dict[str, Any] = {"linestyle": LINE_STYLES[str(split)], "color": colours[name]}
        line["marker"] = "." if len(curve) < FEW_POINTS else ""
        axes.plot(curve["samples"], curve["difference"], **line)
    late = rows.loc[rows["samples"] >= min(SETTLED, rows["samples"].max()), "difference"]
    low, high = min(late.min(), -band), max(late.max(), band)
    margin = 0.06 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    names = {name: f"$N_z = {name}$" if by == "n_latent" else method_name(name) for name in colours}
    entries = [
        Line2D([], [], color=colours[name], label=names[name]) for name in names if name in set(rows[by])
    ]
    entries += [
        Line2D([], [], color="black", linestyle=line, label=split) for split, line in LINE_STYLES.items()
    ]
    axes.legend(handles=entries, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
