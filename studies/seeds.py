"""Every seed of a reading beside the paper's run: what it has less the paper, in a table's cells, and its curve."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aevb import curves
from aevb.drawing import STYLE
from frey_pace import by_split, first_point, since_start

COLOURS = ("tab:orange", "tab:blue", "tab:green")  # ours, then other readings


class Panel(NamedTuple):
    """Of a latent size the curves of the seeds of each reading, by its name, and the paper's."""

    readings: Mapping[str, Sequence[pd.DataFrame]]
    paper: pd.DataFrame


def of(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The curve of each seed."""
    return [run for _, run in rows.groupby("seed")]


def behind(run: pd.DataFrame, theirs: pd.DataFrame, points: Sequence[float]) -> list[float]:
    """What a run has less the paper: the mean since the start at its first train point, test at `points`.

    NaN where the run's start is not known, and where it has not come so far."""
    (start, nats), (train, test), (_, papers) = first_point(theirs), by_split(run), by_split(theirs)
    reached = test["samples"].max()
    tested = [
        float(curves.interpolate(test, at) - curves.interpolate(papers, at)) if at <= reached else np.nan
        for at in points
    ]
    return [since_start(train, start) - nats, *tested]


def cells(seeds: Iterable[Sequence[float]], form: str) -> list[str]:
    """A cell for each value, with that of every seed; a dash where one is not known."""
    return [
        ", ".join(form.format(value) if np.isfinite(value) else "–" for value in values)
        for values in zip(*seeds, strict=True)
    ]


def figure(panels: Mapping[int, Panel], nats: tuple[float, float], title: str = "") -> Figure:
    """A panel for each latent size: the test bounds of every seed from 10^5 to 10^7 samples, and the paper's reports,
    as points, since on MNIST they are of two runs at first. nats: the range shown; title: of the legend."""
    with style.context(STYLE):
        drawn = Figure(figsize=(9.0, 3.2), layout="constrained")
        all_axes = drawn.subplots(1, len(panels), sharey=True)
        for axes, (n_latent, panel) in zip(all_axes, panels.items(), strict=True):
            for colour, (name, runs) in zip(COLOURS, panel.readings.items(), strict=False):
                for number, run in enumerate(runs):
                    _draw(axes, run, color=colour, linewidth=0.7, label=None if number else name)
            _draw(axes, panel.paper, color="black", linestyle="", marker=".", label="the paper")
            axes.set(xscale="log", xlim=(1e5, 1e7), ylim=nats, title=f"$N_z$ = {n_latent}")
        all_axes[0].set_ylabel("lower bound on test, nats")
        drawn.supxlabel("training samples", fontsize="medium")
        handles, labels = all_axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), title=title or None)
    return drawn


def _draw(axes: Axes, curve: pd.DataFrame, **line: object) -> None:
    tested = by_split(curve)[1].query("samples > 0")
    axes.plot(tested["samples"], tested["nats"], **line)
