"""Are the first thousand points, on which Figure 3 estimates log p(x), like the others?

    python studies/figure3_points.py POINTS FOLDER > results/reference/figure3_points.csv
    python studies/figure3_points.py --page results/reference/figure3_points.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER: as for figure3_long.py, whose first run is taken at its end. The paper
evaluates the first thousand points of training and test set (Appendix E), and so do we; here they stand beside
thousands from all over the set, in the order of MNIST's files. One row a thousand: its first point and log p(x), in
nats per data point.
"""

import sys
from pathlib import Path

import pandas as pd

import pages
from figure3_long import SAMPLES, trained
from figure3_steps import log_likelihood

SIZE, THOUSANDS = 1000, 10


def main(points: Path, folder: Path) -> None:
    trainer, run = trained(0, points, folder)
    weights = [run.store.load_weights(SAMPLES[-1]).tensors]
    rows = []
    for split, levels in (("train", trainer.data.train), ("test", trainer.data.test)):
        for first in range(0, len(levels), len(levels) // THOUSANDS):
            [value] = log_likelihood(trainer, weights, levels[first : first + SIZE]).tolist()
            rows.append({"split": split, "first": first, "log_likelihood": value})
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, float_format="%.4f")


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a split."""
    values = "the first thousand | the others: mean | lowest | highest | standard deviation | first less mean"
    lines = [f"| split | {values} |", f"|---|{6 * '--:|'}"]
    for split in ("train", "test"):
        first, *others = table[table["split"] == split].sort_values("first")["log_likelihood"]
        rest = pd.Series(others)
        found = [first, rest.mean(skipna=False), rest.min(), rest.max()]
        nats = " | ".join(f"{value:.1f}" for value in found)
        lines.append(f"| {split} | {nats} | {rest.std():.1f} | {first - found[1]:+.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("points", page, *sys.argv[2:])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
