"""A curve of Figure 3: the paper's values and what is kept of ours."""

from pathlib import Path

import pandas as pd

COMPARISON = Path(__file__).parents[1] / "results/reference/paper_comparison.csv"


def kept() -> pd.DataFrame:
    """The table `paper_comparison` of the runs that are kept."""
    return pd.read_csv(COMPARISON)


def curve(comparison: pd.DataFrame, method: str, n_train: int) -> pd.DataFrame:
    """Of the table `paper_comparison` one method with N_train training points, by split and samples."""
    is_shown = comparison[["figure", "method", "n_train"]].eq([3, method, n_train]).all(axis=1)
    return comparison[is_shown].set_index(["split", "samples"]).sort_index()


def at(curve: pd.DataFrame, split: str, samples: int) -> pd.Series:
    """A curve's row for a report point, or the next: an iteration of Monte Carlo EM is whole and can end behind."""
    row: pd.Series = curve.loc[split].loc[samples:].iloc[0]
    return row
