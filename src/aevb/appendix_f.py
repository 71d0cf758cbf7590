"""Full variational Bayes beside AEVB, which is MAP in the decoder's weights: the experiment that the paper left out.

Both are read at one set of weights, of full VB the posterior's means. Its own bound, eq. 24 per data point, is one on
log p(X) / N with the weights integrated out, and pays for knowing them: KL(q(theta) || p(theta)) / N.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aevb import UserError
from aevb.comparison import CELL
from aevb.curves import bands, method_name, over_seeds
from aevb.datasets import dataset_name
from aevb.drawing import STYLE, draw_curve, method_colours
from aevb.experiments import CERTIFIED
from aevb.intervals import of_mean

MAP, FULL = "aevb", "full_vb"
QUANTITIES = {  # in the table's order
    "train_running": "the method's own bound on its minibatches",
    "train": "ELBO on training points",
    "test": "ELBO on test points",
    "log_p_train": "log p(x) of training points",
    "log_p_test": "log p(x) of test points",
}
LINES: dict[str, Any] = {"train_running": ":", "train": "-", "test": "--"}


def table(bounds: pd.DataFrame, marginal: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and quantity, in nats per data point: MAP, full VB, full VB - MAP.

    bounds, marginal: rows of the final bounds and of marginal_likelihood.csv, of which those at the end of a cell's
    bounds count: a figure may have trained one of the two further. Values are means over seeds; ci_low, ci_high the
    95 % t-interval of the paired difference, empty for a single seed. An empty value was refused, or is not known of
    both at that point.
    """
    likelihood = marginal[marginal["evidence_estimator"] == CERTIFIED]
    end = bounds.groupby(CELL)["samples"].max().rename("end")
    last = likelihood.merge(end, on=CELL).query("samples == end")
    rows = pd.concat(
        [
            bounds.rename(columns={"bound": "nats"}),
            last.assign(split="log_p_" + last["split"]).rename(columns={"log_likelihood": "nats"}),
        ]
    )
    paired = rows.set_index([*CELL, "split", "seed", "estimator"])["nats"].unstack("estimator").reset_index()
    if not {MAP, FULL} <= {*paired}:
        raise UserError(f"Appendix F compares {FULL} with {MAP}: name both under full_vb in config.yaml")
    return pd.DataFrame(
        [
            dict(zip(CELL, cell, strict=True)) | _row(name, mine[mine["split"] == split])
            for cell, mine in paired.groupby(CELL, sort=False)
            for split, name in QUANTITIES.items()
            if (mine["split"] == split).any()
        ]
    )


def _row(name: str, seeds: pd.DataFrame) -> dict[str, object]:
    difference = seeds[FULL] - seeds[MAP]
    mean, low, high = of_mean(difference)
    return {
        "quantity": name,
        "n_seeds": len(seeds),
        MAP: seeds[MAP].mean(skipna=False),
        FULL: seeds[FULL].mean(skipna=False),
        "difference": mean,
        "ci_low": low,
        "ci_high": high,
    }


def figure(bounds: pd.DataFrame) -> Figure:
    """Bounds along training, a row of panels per data set, a panel per N_train; `bounds` as in bounds.csv.

    Solid on training points, dashed on test points, dotted the method's own bound: of full VB that is eq. 24.
    """
    shown = bounds.rename(columns={"estimator": "method", "bound": "nats"}).assign(error=np.nan)
    rows = bands(over_seeds(shown))
    colours = method_colours(rows["method"])
    datasets = list(rows.groupby("dataset", sort=False))
    n_columns = max(mine["n_train"].nunique() for _, mine in datasets)
    with style.context(STYLE):
        drawn = Figure(figsize=(3.4 * n_columns, 2.8 * len(datasets) + 0.6), layout="constrained")
        grid = drawn.subplots(len(datasets), n_columns, squeeze=False)
        for line, (dataset, mine) in zip(grid, datasets, strict=True):
            for axes in line[mine["n_train"].nunique() :]:
                axes.set_axis_off()
            for axes, (n_train, panel) in zip(line, mine.groupby("n_train"), strict=False):
                shown = panel[panel["samples"] >= panel["samples"].max() / 100]
                for (method, split), curve in shown.groupby(["method", "split"], sort=False):
                    draw_curve(axes, curve, LINES[str(split)], colours[str(method)])
                axes.set(xscale="log", xlabel="# Training samples evaluated")
                axes.set_title(rf"{dataset_name(str(dataset))}, $N_{{\mathrm{{train}}}} = {n_train}$")
            line[0].set_ylabel("nats per data point")
        drawn.legend(handles=_legend(colours), loc="outside lower center", ncols=3)
    return drawn


def _legend(colours: dict[str, str]) -> list[Line2D]:
    words = {"train": "training points", "test": "test points", "train_running": "its own bound"}
    return [
        Line2D([], [], color=colour, linestyle=LINES[split], label=f"{method_name(method)}, {said}")
        for split, said in words.items()
        for method, colour in colours.items()
    ]
