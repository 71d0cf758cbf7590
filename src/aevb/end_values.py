"""Every curve's end with all its numbers, train and test side by side, as docs/curves.md shows them."""

import numpy as np
import pandas as pd

from aevb import markdown
from aevb.closeness import PANEL, difference, ends, millions
from aevb.curves import method_name
from aevb.datasets import dataset_name

KILOJOULES = "kJ/M: kilojoules that the device used for as many, where it has a meter. "


def table(comparison: pd.DataFrame, costs: pd.DataFrame) -> str:
    """`paper_comparison` with all its numbers: train and test side by side, a line per panel and method.

    Each line is at the largest number of samples that ours and the paper's curves have in common; where fewer seeds
    got there than somewhere before, another line says how far the others got. costs: the runs of both figures,
    columns those of PANEL with `estimator` for `method`, `samples`, `seconds` and `joules`; where no run has joules,
    the table has no column for them.
    """
    units = {"min/M": lambda runs: f"{_minutes_per_million(runs):.2g}"} | (
        {"kJ/M": _kilojoules_per_million} if _metered(costs) else {}
    )
    sides = ["train: paper", "ours", "differ by", "test: paper", "ours", "differ by"]
    head = ["figure", "panel", "method", "samples", "seeds", *sides, *units]
    lines = []
    runs = dict(list(costs.rename(columns={"estimator": "method"}).groupby(PANEL)))
    for identity, rows in comparison.groupby(PANEL):
        figure, dataset, n_latent, n_train, method = identity
        size = f"N_z = {n_latent}" if figure == 2 else f"N_train = {n_train}"
        panel = [str(figure), f"{dataset_name(str(dataset))}, {size}", method_name(str(method))]
        cost = [per_million(runs[identity]) for per_million in units.values()]
        for at in ends(rows):
            values = [text for split in ("train", "test") for text in _values(at, split)]
            reached = [millions(at["samples"].iloc[0]), str(at["n_seeds"].iloc[0])]
            lines.append([*panel, *reached, *values, *cost])
    return markdown.table(head, "lll" + "r" * (len(head) - 3), lines)


def block(comparison: pd.DataFrame, costs: pd.DataFrame) -> str:
    """What `snakemake readme` puts between the markers of docs/curves.md."""
    note = (
        f"{effort(costs)} Intervals are 95 %, "
        "over seeds; of a single seed, over data points in Figure 3 (the paper's curve is of the same thousand), and "
        "Figure 2 has none. min/M: minutes for a million training samples, beside other jobs. "
        f"{KILOJOULES if _metered(costs) else ''}None: the run diverged or log p(x) of a point was refused."
    )
    return f"{note}\n\n{table(comparison, costs)}"


def effort(costs: pd.DataFrame) -> str:
    """What the runs took and on what, in a sentence or two; costs: as for `table`. The paper says of Figure 2 what a
    million samples took."""
    curves = costs[costs["figure"] == 2].groupby(["dataset", "n_latent", "estimator"])
    minutes = sorted(_minutes_per_million(runs) for _, runs in curves)
    hours = f"{costs['seconds'].sum() / 3600:.1f} hours of training in all on {_devices(costs)}"
    sentences = [f"{len(costs)} runs, {hours}."]
    if minutes:
        between = f"{minutes[0]:.2g} to {minutes[-1]:.2g} minutes for a million samples"
        sentences.append(f"In Figure 2 {between}, by curve (the paper: 20 to 40).")
    return " ".join(sentences)


def _devices(costs: pd.DataFrame) -> str:
    runs = costs[["device", "threads"]].drop_duplicates().itertuples(index=False)
    return " and ".join(
        f"{device} ({threads} thread{'s' * (threads != 1)} a run)" for device, threads in runs
    )


def _minutes_per_million(runs: pd.DataFrame) -> float:
    minutes: float = runs["seconds"].sum() / runs["samples"].sum() * 1e6 / 60
    return minutes


def _metered(costs: pd.DataFrame) -> bool:
    return bool(costs["joules"].notna().any())


def _kilojoules_per_million(runs: pd.DataFrame) -> str:
    """Of the runs that have joules."""
    metered = runs[runs["joules"].notna()]
    return f"{metered['joules'].sum() / metered['samples'].sum() * 1e3:.2g}" if len(metered) else "–"


def _values(at: pd.DataFrame, split: str) -> tuple[str, str, str]:
    """The paper's value, ours with its interval, and their difference."""
    if split not in at.index:
        return "–", "–", "–"
    row = at.loc[[split]].reset_index().iloc[0]
    if np.isnan(row["ours"]):
        return f"{row['paper']:.1f}", "none", "–"
    interval = f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]" if np.isfinite(row["ci_low"]) else ""
    return f"{row['paper']:.1f}", f"{row['ours']:.1f}{interval}", difference(row)
