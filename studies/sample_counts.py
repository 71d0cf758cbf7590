"""How many samples does one update of the paper take? Its figures say so: a report comes after whole updates.

    python studies/sample_counts.py --page docs/deviations.md

The curves were read off vector graphics, where the samples of early reports can be told to a few. Where an update
takes M samples, each report of AEVB and wake-sleep stands at a multiple of M. Less well known is where a panel's axis
begins and ends: in Figure 2, whose axis is logarithmic, a factor near 1 is fitted for each candidate of M, in
Figure 3, whose axis is linear, an offset as well. The mean distance of the reports from the nearest multiple says
whether M is one. Fitted to numbers that are no multiples it would be below M/4 too; how far below, random ones say.
Trains nothing: it reads results/reference/paper.csv.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aevb import markdown
from aevb.datasets import dataset_name

PAPER = Path(__file__).parents[1] / "results/reference/paper.csv"
CANDIDATES = (100, 200, 500)
PANEL = ["figure", "dataset", "n_latent", "n_train"]
READ_TO_A_FEW = {2: 4e6, 3: 1e7}  # by figure, up to how many samples
FACTORS = 1 + np.arange(-7e-4, 7e-4, 1e-6)  # a step moves the last counts by as much as they are read to
OFFSETS = {2: 1, 3: 50}  # by figure, how many are tried: a logarithmic axis has none
DRAWS = 100

Counts = NDArray[np.float64]


def distance(counts: Counts, unit: int, offsets: int) -> float:
    """How far the counts, in samples, are on average from multiples of `unit`, on the axis that fits best."""
    best = np.inf
    for offset in np.linspace(0, unit, offsets, endpoint=False):
        multiples = (counts * FACTORS[:, None] + offset) / unit
        best = min(best, np.abs(multiples - multiples.round()).mean(1).min())
    return float(best * unit)


def by_chance(counts: Counts, unit: int, offsets: int) -> float:
    """The smallest distance of DRAWS sets of as many random numbers in the same places: of any numbers for the first
    of the candidates, and of multiples of it for the others, which lie further from multiples of more than any do."""
    generator = np.random.default_rng(0)
    moves = generator.uniform(-unit / 2, unit / 2, (DRAWS, len(counts)))
    step = CANDIDATES[0]
    if unit > step:
        moves = step * np.floor(moves / step)
    return min(distance(numbers, unit, offsets) for numbers in counts + moves)


def panels(paper: pd.DataFrame) -> Iterator[tuple[str, int, Counts]]:
    """Name, figure and early reports of AEVB and wake-sleep of each panel that has ten of them."""
    for (figure, dataset, n_latent, n_train), rows in paper[paper["method"] != "mcem"].groupby(PANEL):
        counts = np.unique(rows["samples"][rows["samples"].between(1, READ_TO_A_FEW[figure])])
        size = f"N_z = {n_latent}" if figure == 2 else f"N_train = {n_train}"
        if len(counts) >= 10:
            yield f"Figure {figure}, {dataset_name(dataset)}, {size}", figure, counts.astype(float)


def lines(paper: pd.DataFrame) -> Iterator[str]:
    yield f"| panel | reports | {' | '.join(f'from multiples of {unit}' for unit in CANDIDATES)} |"
    yield f"|---|--:|{len(CANDIDATES) * '--:|'}"
    for name, figure, counts in panels(paper):
        found = [
            f"{distance(counts, unit, OFFSETS[figure]):.1f} ({by_chance(counts, unit, OFFSETS[figure]):.0f})"
            for unit in CANDIDATES
        ]
        yield f"| {name} | {len(counts)} | {' | '.join(found)} |"


def page() -> str:
    """The table as docs/deviations.md shows it."""
    return "\n".join(lines(pd.read_csv(PAPER)))


if __name__ == "__main__":
    place = Path(sys.argv[2])
    place.write_text(markdown.insert_between_markers(place.read_text(), "counts", page()))
