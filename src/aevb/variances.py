"""How noisy the estimators' gradients are, drawn: variance relative to SGVB-B's, and signal to noise."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aevb.curves import METHOD_NAMES
from aevb.datasets import DATASETS, dataset_name
from aevb.drawing import STYLE, method_colours
from aevb.experiments import GradientJob

MARKERS = {  # in the order of the legend
    **{"aevb": "o", "sgvb_a": "s", "sticking_the_landing": "^", "score_function": "X"},
    **{"score_function_loo": "P", "iwae": "D", "dreg": "v", "renyi": "<", "reweighted_wake_sleep": ">"},
}
QUANTITIES = {  # of the rows of panels: column and title
    "relative_variance": "variance / that of SGVB-B",
    "snr": "signal to noise",
}
GAP = 1.5  # between moments, in steps from one L to the next
WIDTH = 0.6  # of such a step, over which the estimators stand side by side


def gradient_variance(table: pd.DataFrame) -> Figure:
    """gradient_variance.csv as two rows of panels per dataset, encoder left and decoder right."""
    present = [name for name in DATASETS if name in {*table["dataset"]}]
    styles = _styles(list(table["gradient_estimator"].unique()))
    with style.context(STYLE):
        figure = Figure(figsize=(7.5, 1.0 + 4.2 * len(present)), layout="constrained")
        grid = figure.subplots(2 * len(present), 2, squeeze=False)
        for number, (dataset, quantity) in enumerate((d, q) for d in present for q in QUANTITIES):
            for axes, part in zip(grid[number], ("encoder", "decoder"), strict=True):
                # the panels of a row differ by many powers of ten, so each has its own scale
                rows = table[(table["dataset"] == dataset) & (table["part"] == part)]
                _panel(axes, rows, quantity, styles)
                axes.set_title(f"{dataset_name(dataset)}, {part}", loc="left")
            grid[number, 0].set_ylabel(QUANTITIES[quantity])
        handles = [_handle(*styles[name]) for name in styles]
        handles.append(Line2D([], [], color="black", linewidth=1, label="minibatch to minibatch"))
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7)
    return figure


def _styles(names: list[str]) -> dict[str, tuple[str, str, str]]:
    """Label, colour and marker of each, in the order of the legend: those of MARKERS, then those not yet there."""
    colours = method_colours(names)
    ordered = [*(name for name in MARKERS if name in names), *sorted({*names} - {*MARKERS})]
    labels = METHOD_NAMES | {"aevb": "SGVB-B (AEVB)"}
    return {name: (labels.get(name, name), colours[name], MARKERS.get(name, "*")) for name in ordered}


def _panel(axes: Axes, rows: pd.DataFrame, quantity: str, styles: dict[str, tuple[str, str, str]]) -> None:
    moments, sizes = (sorted(rows[name].unique()) for name in ("samples", "n_samples"))
    starts = {moment: place * (len(sizes) - 1 + GAP) for place, moment in enumerate(moments)}
    offsets = dict(zip(styles, np.linspace(-WIDTH / 2, WIDTH / 2, len(styles)), strict=True))
    for (name, moment), group in rows.groupby(["gradient_estimator", "samples"]):
        group = group.sort_values("n_samples")
        x = starts[moment] + group["n_samples"].map(sizes.index) + offsets[str(name)]
        _, colour, marker = styles[str(name)]
        values, low, high = _values(group, quantity)
        bars = np.stack([values - low, high - values])
        line: dict[str, Any] = {"color": colour, "linewidth": 0.6, "alpha": 0.9}
        axes.errorbar(x, values, yerr=bars, marker=marker, markersize=3, elinewidth=0.6, **line)
    if quantity == "relative_variance":
        _noise_of_data(axes, rows, starts, sizes)
    else:
        axes.axhline(1, color="black", linewidth=0.4)
    axes.set_yscale("log", nonpositive="clip")
    ticks = [
        (start + place, _tick(size, place, moment, len(sizes)))
        for moment, start in starts.items()
        for place, size in enumerate(sizes)
    ]
    axes.set_xticks(*zip(*ticks, strict=True), fontsize=6)
    axes.set_xlabel("$L$, and below it the number of training samples")
    axes.grid(axis="y", alpha=0.2)


def _values(group: pd.DataFrame, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A quantity and the ends of its bars."""
    if quantity == "snr":
        values, low, high = (group[name].to_numpy() for name in ("snr", "snr_low", "snr_high"))
        return values, low, high
    values, error = (group[name].to_numpy() for name in ("relative_variance", "relative_variance_error"))
    return values, values - 1.96 * error, values + 1.96 * error


def _noise_of_data(axes: Axes, rows: pd.DataFrame, starts: dict[int, float], sizes: list[int]) -> None:
    """A dash per moment and L: the variance from minibatch to minibatch, on the scale of SGVB-B's variance."""
    reference = rows[rows["gradient_estimator"] == GradientJob.REFERENCE]
    for _, row in reference.iterrows():
        x = starts[row["samples"]] + sizes.index(row["n_samples"])
        level = row["data_variance"] / row["variance"]
        axes.plot([x - WIDTH / 2, x + WIDTH / 2], [level, level], color="black", linewidth=1)


def _tick(size: int, place: int, moment: int, n_sizes: int) -> str:
    """L, and below the middle one of a group the group's moment."""
    return f"{size}\n{_moment(moment)}" if place == n_sizes // 2 else str(size)


def _moment(samples: int) -> str:
    if samples == 0:
        return "start"
    power = int(np.floor(np.log10(samples)))
    factor = f"{samples / 10**power:g}"
    return f"$10^{power}$" if factor == "1" else rf"${factor}\times 10^{power}$"


def _handle(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=0.6, label=label)
