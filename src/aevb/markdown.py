"""Tables as Markdown, and their place in the README and the pages of docs/: between two markers."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from aevb import UserError
from aevb.curves import dataset_name, method_name

PANEL = ["figure", "dataset", "n_latent", "n_train", "method"]  # what identifies a line of the comparison
CLOSE = {"mnist": 1.0, "frey": 25.0}  # nats from the paper; what is further away is shown in bold
CLOSE_AT_THE_FIXED_POINT = 6.0  # wake-sleep on Frey Face, which in the paper stays at one value


def comparison_table(comparison: pd.DataFrame, costs: pd.DataFrame) -> str:
    """`paper_comparison` as the README shows it: train and test side by side, a line per panel and method.

    Each line is at the largest number of samples that ours and the paper's curves have in common; where fewer seeds
    got there than somewhere before, another line says how far the others got. costs: the runs of both figures,
    columns those of PANEL with `estimator` for `method`, `samples` and `seconds`.
    """
    values = "paper | ours | differ by"
    lines = [
        f"| figure | panel | method | samples | seeds | train: {values} | test: {values} | min/M |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    runs = dict(list(costs.rename(columns={"estimator": "method"}).groupby(PANEL)))
    for identity, rows in comparison.groupby(PANEL):
        figure, dataset, n_latent, n_train, method = identity
        size = f"N_z = {n_latent}" if figure == 2 else f"N_train = {n_train}"
        panel = [str(figure), f"{dataset_name(str(dataset))}, {size}", method_name(str(method))]
        minutes = _minutes_per_million(runs[identity])
        for at in _ends(rows):
            sides = [text for split in ("train", "test") for text in _values(at, split)]
            reached = [_millions(at["samples"].iloc[0]), str(at["n_seeds"].iloc[0])]
            lines.append(f"| {' | '.join([*panel, *reached, *sides, minutes])} |")
    return "\n".join(lines)


def _ends(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """A curve's rows where it ends, by split: at the last point of all its seeds, and of fewer that went further.

    Where one split's paper curve is cut short, points of both; with a single split, of that one.
    """
    splits = rows.groupby("samples").agg(shown=("split", "nunique"), n_seeds=("n_seeds", "min"))
    points = splits[splits["shown"] == splits["shown"].max()].reset_index()
    for reached in points.groupby("n_seeds")["samples"].max().sort_values():
        yield rows[rows["samples"] == reached].set_index("split")


def readme_block(comparison: pd.DataFrame, costs: pd.DataFrame) -> str:
    """What `snakemake readme` puts between the README's markers."""
    note = (
        f"{_seeds(comparison)} a curve, {costs['seconds'].sum() / 3600:.1f} hours of training in all on "
        f"{_devices(costs)}. Nats per data point, higher is better; intervals are 95 %, over seeds; of a single "
        "seed, over data points in Figure 3, and Figure 2 has none. Bold: further from the paper than "
        f"{CLOSE['mnist']:.0f} nat (MNIST), {CLOSE['frey']:.0f} nats (AEVB on Frey Face) or "
        f"{CLOSE_AT_THE_FIXED_POINT:.0f} nats (wake-sleep on Frey Face). min/M: minutes for a million training "
        "samples; the paper's took 20 to 40. None: the run diverged, or log p(x) of a point was refused. Generated "
        "by `snakemake readme` from the runs that are kept in `results/reference/kept/`; every report point: "
        "`results/reference/paper_comparison.csv`."
    )
    return f"{note}\n\n{comparison_table(comparison, costs)}"


def _seeds(comparison: pd.DataFrame) -> str:
    numbers = comparison.groupby(PANEL)["n_seeds"].max()
    fewest, most = numbers.min(), numbers.max()
    return "1 seed" if most == 1 else f"{most if fewest == most else f'{fewest} to {most}'} seeds"


def _devices(costs: pd.DataFrame) -> str:
    runs = costs[["device", "threads"]].drop_duplicates().itertuples(index=False)
    return " and ".join(
        f"{device} ({threads} thread{'s' * (threads != 1)} a run)" for device, threads in runs
    )


def _minutes_per_million(runs: pd.DataFrame) -> str:
    return f"{runs['seconds'].sum() / runs['samples'].sum() * 1e6 / 60:.2g}"


def _values(at: pd.DataFrame, split: str) -> tuple[str, str, str]:
    """The paper's value, ours with its interval, and their difference."""
    if split not in at.index:
        return "–", "–", "–"
    row = at.loc[[split]].iloc[0]
    if np.isnan(row["ours"]):
        return f"{row['paper']:.1f}", "none", "–"
    interval = f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]" if np.isfinite(row["ci_low"]) else ""
    difference = f"{row['difference']:+.1f}"
    if abs(row["difference"]) > _close(row):
        difference = f"**{difference}**"
    return f"{row['paper']:.1f}", f"{row['ours']:.1f}{interval}", difference


def _close(row: pd.Series) -> float:
    if (row["dataset"], row["method"]) == ("frey", "wake_sleep"):
        return CLOSE_AT_THE_FIXED_POINT
    return CLOSE[row["dataset"]]


def _millions(samples: float) -> str:
    return f"{samples / 1e6:.3g} M"


def insert_between_markers(text: str, name: str, block: str) -> str:
    """Replace what stands between `<!-- {name}:begin -->` and `<!-- {name}:end -->` in `text` by `block`.

    Raises UserError when the pair of markers is missing.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    replaced, found = pattern.subn(lambda markers: f"{markers[1]}\n{block}\n{markers[2]}", text, count=1)
    if not found:
        raise UserError(f"no place for the table: put the lines {begin} and {end} where it belongs")
    return replaced
