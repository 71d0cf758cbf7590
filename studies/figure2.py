"""The curves of Figure 2 that are kept, the paper's, and what such a curve has of a run's trace."""

from pathlib import Path
from typing import Any

import pandas as pd

from aevb import config, curves, kept

ROOT = Path(__file__).parents[1]
DRAWN = {"train_running": "train", "test": "test"}  # the splits of a trace, and what Figure 2 calls them


def ours_and_papers() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ours as `curves.figure2_curves` gives them, a row a seed; the paper's as in results/reference/paper.csv."""
    references = ROOT / "results/reference"
    cells = config.read(ROOT / "config.yaml").cells("figure2")
    bounds = curves.select(kept.read(references / "kept").bounds, cells)
    return curves.figure2_curves(bounds), pd.read_csv(references / "paper.csv")


def drawn(rows: list[dict[str, Any]]) -> list[list[float | str]]:
    """Of a trace's rows those that Figure 2 shows: split, samples, bound."""
    return [[DRAWN[row["split"]], row["samples"], row["bound"]] for row in rows if row["split"] in DRAWN]
