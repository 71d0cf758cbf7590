"""What all figures share: their style and colours, a curve with its interval, and how a figure is written."""

from collections.abc import Iterable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aevb.files import replace

STYLE = "aevb.paper"  # paper.mplstyle beside this file
METHOD_COLOURS = {  # the paper's three as in the paper; the same in every figure
    **{"aevb": "red", "wake_sleep": "green", "mcem": "blue"},
    **{"sgvb_a": "darkorange", "sticking_the_landing": "saddlebrown", "full_vb": "dodgerblue"},
    **{"score_function": "black", "score_function_loo": "gray", "iwae": "purple", "dreg": "deeppink"},
    **{"renyi": "teal", "reweighted_wake_sleep": "olive"},
}
OTHER_COLOURS = ["goldenrod", "navy", "limegreen", "crimson", "turquoise"]  # the reader's own estimators
FEW_POINTS = 15  # curves with fewer report points show them
FEWER_SEEDS = 0.8  # the width of a line where not all seeds went so far


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """Method -> colour in the order of the legend: the paper's methods in its colours, then the others."""
    present = set(methods)
    others = sorted(present - set(METHOD_COLOURS))
    colours = METHOD_COLOURS | dict(zip(others, cycle(OTHER_COLOURS), strict=False))
    return {method: colour for method, colour in colours.items() if method in present}


def draw_curve(axes: Axes, curve: pd.DataFrame, line_style: str, colour: str) -> None:
    """One method's rows of `curves.over_seeds`: a band over seeds, a bar where there is one seed, or one point of
    several; thinner where fewer seeds went further."""
    line: dict[str, Any] = {"linestyle": line_style, "color": colour}
    line["marker"] = "." if len(curve) < FEW_POINTS else ""  # a curve of one point is no line
    all_seeds = int((curve["n_seeds"] == curve["n_seeds"].max()).sum())
    samples, nats = curve["samples"], curve["nats"]
    axes.plot(samples[:all_seeds], nats[:all_seeds], **line)
    if all_seeds < len(curve):
        axes.plot(samples[all_seeds - 1 :], nats[all_seeds - 1 :], linewidth=FEWER_SEEDS, **line)
    several = curve["n_seeds"] > 1
    shaded = several & (several.sum() > 1)  # a band of one point has no area
    if shaded.any():
        at = curve[shaded]
        axes.fill_between(at["samples"], at["low"], at["high"], color=colour, alpha=0.1, linewidth=0)
    single = curve[~shaded & curve["low"].notna()]
    if len(single):
        bars: dict[str, Any] = {"yerr": single["high"] - single["nats"], "fmt": "none", "ecolor": colour}
        axes.errorbar(single["samples"], single["nats"], elinewidth=0.5, alpha=0.6, **bars)


def draw_interval(
    axes: Axes, row: pd.Series, value: str, place: float, colour: str, marker: str = "o", hollow: bool = False
) -> None:
    """A line of a forest plot at height `place`: row[value] with its interval ci_low, ci_high, where there is one."""
    error = np.nan_to_num([[row[value] - row["ci_low"]], [row["ci_high"] - row[value]]])
    face = "white" if hollow else colour
    point: dict[str, Any] = {"marker": marker, "markersize": 3.5, "markerfacecolor": face}
    axes.errorbar(row[value], place, xerr=error, color=colour, linewidth=0.8, **point)


def save(figure: Figure, stem: Path | str) -> None:
    """Write `{stem}.pdf`, `{stem}.png` (200 dpi) and `{stem}.svg`; the same figure gives the same bytes."""
    undated = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    with style.context(STYLE):
        for suffix, metadata in undated.items():
            save_as = partial(figure.savefig, format=suffix, metadata=metadata)
            replace(Path(f"{stem}.{suffix}"), save_as)
