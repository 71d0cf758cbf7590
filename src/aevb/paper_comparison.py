"""Ours beside the paper's curves, at our report points."""

import math
from collections.abc import Sequence

import pandas as pd

from aevb.curves import (
    CURVE,
    PAPERS_HIDDEN,
    figure2_curves,
    figure3_curves,
    interpolate,
    of_the_papers,
    over_seeds,
)
from aevb.experiments import Cell, path_of
from aevb.references import BOUND, LIKELIHOOD

COMPARISON = ["figure", *CURVE, "samples", "paper", "ours", "ci_low", "ci_high", "difference"]


def table(bounds: pd.DataFrame, marginal: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's curves of Figures 2 and 3, one row per report point of ours: COMPARISON and `n_seeds`.

    Only points inside the sample range of the paper's curve have a row: its nats are interpolated linearly in log
    samples and never extrapolated. `ours` is the mean over the `n_seeds` that got so far and `ci_low, ci_high` its
    95 % t-interval; of a single seed, +-1.96 standard errors over data points for Figure 3 and empty for Figure 2.
    `difference` is ours - paper in nats per data point. A point at which a seed has diverged keeps its row, with
    `ours` NaN.
    """
    rows = []
    for figure, runs, curves in [(2, bounds, figure2_curves), (3, marginal, figure3_curves)]:
        ours = over_seeds(curves(runs))
        rows.append(ours.iloc[:0].assign(figure=figure, paper=math.nan, difference=math.nan))
        for (*identity,), curve in of_the_papers(paper, figure, runs).groupby(CURVE):
            mine = ours[(ours[CURVE] == identity).all(axis="columns")]
            mine = mine[mine["samples"].between(curve["samples"].min(), curve["samples"].max())]
            theirs = interpolate(curve, mine["samples"].to_numpy())
            rows.append(mine.assign(figure=figure, paper=theirs, difference=mine["nats"] - theirs))
    found = pd.concat(rows).rename(columns={"nats": "ours", "low": "ci_low", "high": "ci_high"})
    return found[[*COMPARISON, "n_seeds"]].reset_index(drop=True)


def with_paper(
    rows: pd.DataFrame, paper: pd.DataFrame, figure2: Sequence[Cell], figure3: Sequence[Cell]
) -> pd.DataFrame:
    """The rows with the paper's value at their report point, and ours above it: for information, and on the test set
    alone, since the paper's training curves are running means. Empty outside the paper's curves."""
    shown = {BOUND: (2, {cell.path for cell in figure2}), LIKELIHOOD: (3, {cell.path for cell in figure3})}

    def value(row: pd.Series) -> float:
        figure, paths = shown.get(row["metric"], (0, set()))
        if row["split"] != "test" or path_of(row) not in paths:
            return math.nan
        if row["n_hidden"] != PAPERS_HIDDEN[figure].get(row["dataset"]):
            return math.nan
        named = {"figure": figure, "method": row["estimator"]} | {
            name: row[name] for name in ("dataset", "n_latent", "n_train", "split")
        }
        curve = paper[(paper[list(named)] == pd.Series(named)).all(axis="columns")]
        inside = curve["samples"].min() <= row["samples"] <= curve["samples"].max()
        return float(interpolate(curve, row["samples"])) if inside else math.nan

    beside = rows.assign(paper=[value(row) for _, row in rows.iterrows()])
    return beside.assign(above_paper=beside["value"] - beside["paper"])
