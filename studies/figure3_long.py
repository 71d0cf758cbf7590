"""Is the step size what puts Figure 3's AEVB, N_train = 50 000, ahead of the paper to its end?

    python studies/figure3_long.py POINTS FOLDER > results/reference/figure3_long.csv
    python studies/figure3_long.py --page results/reference/figure3_long.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps the runs. Our search chooses 0.1; here the step size OTHER of the paper's
three is taken to the paper's last sample, beside the paper and what is kept of ours. One process a seed; one row a
split and number of samples: log p(x) on the first 1000 points, mean over SEEDS with its lowest and highest, in nats
per data point.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import changes
import figure3
import pages
from aevb import config, data
from aevb.stack import Member, Run
from aevb.training import Trainer
from figure3_steps import CPU, ROOT, on_both_splits

OTHER, SEEDS, POINTS = 0.02, (0, 1), 1000
SAMPLES = (4_000_000, 10_000_000, 25_000_000, 63_000_000)


def trained(seed: int, points: Path, folder: Path) -> tuple[Trainer, Run]:
    """The cell with step size OTHER, its weights kept at SAMPLES; on one thread."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", "aevb", 100, 3, 50_000)
    trainer = Trainer(cell, data.load(points), CPU, folder)
    [run] = trainer.train([Member(seed, OTHER)], SAMPLES[-1], SAMPLES)
    return trainer, run


def one_seed(seed: int, points: Path, folder: Path) -> dict[str, list[float]]:
    """log p(x) at each of SAMPLES, by split; NaN where a point is refused."""
    trainer, run = trained(seed, points, folder)
    return on_both_splits(trainer, [run.store.load_weights(samples).tensors for samples in SAMPLES], POINTS)


def table(seeds: list[dict[str, list[float]]], comparison: pd.DataFrame) -> pd.DataFrame:
    """comparison: the table `paper_comparison`."""
    shown = figure3.curve(comparison, "aevb", 50_000)
    rows = []
    for split in ("train", "test"):
        values = np.array([seed[split] for seed in seeds])
        for n, samples in enumerate(SAMPLES):
            at, found = shown.loc[(split, samples)], values[:, n]
            known = {"split": split, "samples": samples, "paper": at["paper"], "ours": at["ours"]}
            rows.append(known | {"other": found.mean(), "low": found.min(), "high": found.max()})
    return pd.DataFrame(rows).assign(seeds=len(seeds))


def page(rows: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a number of samples, train and test side by side."""
    values = f"paper | 0.1 | {OTHER:g} | less paper"
    lines = [f"| samples | train: {values} | test: {values} |", f"|--:|{8 * '--:|'}"]
    for samples, at in rows.groupby("samples"):
        by_split = at.set_index("split")
        sides = " | ".join(_side(by_split.loc[split]) for split in ("train", "test"))
        lines.append(f"| {samples / 1e6:g} M | {sides} |")
    return "\n".join(lines)


def _side(row: pd.Series) -> str:
    other = f"{row['other']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
    return f"{row['paper']:.1f} | {row['ours']:.1f} | {other} | {row['other'] - row['paper']:+.1f}"


def main(points: str, folder: str) -> None:
    def process(seed: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = changes.printed_with(
            changes.PACKAGE.parent, __file__, "--seed", str(seed), points, folder
        )
        return found

    with ThreadPoolExecutor(len(SEEDS)) as pool:
        seeds = list(pool.map(process, SEEDS))
    table(seeds, figure3.kept()).to_csv(sys.stdout, index=False, float_format="%.4f")


if __name__ == "__main__":
    if sys.argv[1] == "--seed":
        print(json.dumps(one_seed(int(sys.argv[2]), *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("long", page, *sys.argv[2:])
    else:
        main(*sys.argv[1:])
