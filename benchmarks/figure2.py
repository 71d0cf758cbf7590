"""The curves of Figure 2 that are kept, and the paper's."""

from pathlib import Path

import pandas as pd

from aevb import config, curves, kept

ROOT = Path(__file__).parents[1]


def ours_and_papers() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ours as `curves.figure2_curves` gives them, a row a seed; the paper's as in results/reference/paper.csv."""
    references = ROOT / "results/reference"
    cells = config.read(ROOT / "config.yaml").cells("figure2")
    bounds = curves.select(kept.read(references / "kept").bounds, cells)
    return curves.figure2_curves(bounds), pd.read_csv(references / "paper.csv")
