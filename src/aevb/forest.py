"""Forest plots: one line per problem, a dot with its interval per estimator."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aevb.certification import MARGIN
from aevb.curves import method_name
from aevb.datasets import dataset_name
from aevb.drawing import STYLE, draw_interval

ESTIMATORS = {  # names, colours and markers in the order of the legend
    "appendix_d_robust": ("App. D, robust", "black", "o"),
    "appendix_d_paper": ("App. D, as in the paper", "red", "s"),
    "importance": ("importance sampling", "blue", "^"),
    "annealed": ("annealed importance sampling", "green", "v"),
    "annealed_reverse": ("the same in reverse", "darkorange", "<"),
    "quadrature": ("quadrature", "purple", "D"),
}
ROW = 0.34  # inches per line


def certification(table: pd.DataFrame) -> Figure:
    """certification.csv as two panels: mean errors against exact values, and gaps between bounds from both sides.

    The axis is linear within the margin of +-0.02 nats, which is shaded, and logarithmic beyond. Hollow marks have
    points at which the estimator itself refused its value.
    """
    exact = table[table["reference"].isin(["exact", "quadrature"])]
    gaps = table[~table["reference"].isin(["exact", "quadrature"])]
    panels = [(exact, "mean error against the exact value"), (gaps, "lower estimate - upper estimate")]
    heights = [max(1, rows["problem_name"].nunique()) for rows, _ in (_named(panel) for panel in panels)]
    with style.context(STYLE):
        figure = Figure(figsize=(7.5, ROW * sum(heights) + 1.8), layout="constrained")
        grid = figure.subplots(2, 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (rows, title) in zip(grid, map(_named, panels), strict=True):
            _panel(axes, rows)
            axes.set_title(title, loc="left")
            axes.set_xlabel("nats per data point (95 % interval over points)")
        present = [name for name in ESTIMATORS if name in {*table["evidence_estimator"]}]
        figure.legend(handles=[_handle(name) for name in present], loc="outside upper center", ncols=3)
    return figure


def _named(panel: tuple[pd.DataFrame, str]) -> tuple[pd.DataFrame, str]:
    rows, title = panel
    return rows.assign(problem_name=[_problem(row) for _, row in rows.iterrows()]), title


def _problem(row: pd.Series) -> str:
    if row["problem"] == "all decoders":
        return "all decoders below"
    if row["problem"] == "probabilistic PCA":
        return f"probabilistic PCA, $N_z$ = {row['n_latent']:.0f}"
    method = method_name(row["estimator"])
    name = dataset_name(row["dataset"])
    of = row["problem"].removesuffix(" points")
    sizes = f"$N_z$ = {row['n_latent']:.0f}, {row['n_hidden']:.0f} hidden, $N$ = {row['n_train']:.0f}"
    return f"{name}, {method}, {sizes}, {of}"


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["problem_name"]))
    axes.axvspan(-MARGIN, MARGIN, color="black", alpha=0.08, linewidth=0)
    axes.axvline(0, color="black", linewidth=0.5)
    for place, name in enumerate(names):
        problem = rows[rows["problem_name"] == name]
        offsets = np.linspace(-0.3, 0.3, len(problem)) if len(problem) > 1 else [0.0]
        for offset, (_, row) in zip(offsets, problem.iterrows(), strict=True):
            _, colour, marker = _style(row["evidence_estimator"])
            draw_interval(axes, row, "bias", place + offset, colour, marker, hollow=bool(row["n_refused"]))
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=MARGIN, linscale=1.0)
    axes.grid(axis="y", alpha=0.2)


def _style(name: str) -> tuple[str, str, str]:
    return ESTIMATORS.get(name, (name, "saddlebrown", "P"))


def _handle(name: str) -> Line2D:
    label, colour, marker = _style(name)
    options: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "label": label}
    return Line2D([], [], linewidth=0.8, **options)
