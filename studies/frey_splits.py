"""Was the paper's split of Frey Face ours? What other splits give where the paper's wake-sleep stays.

    python studies/frey_splits.py FOLDER > results/reference/frey_splits.csv

That point is the maximum likelihood of a Gaussian per pixel, whatever z, and needs no training. FOLDER holds the raw
file, or is filled from its mirrors. Our permutation's train and test value, in nats per data point, and the mean and
standard deviation over 200 others.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from aevb import data

OTHERS = 200


def fixed_point(train: np.ndarray, test: np.ndarray) -> list[float]:
    """Mean log-likelihood (train, test) of the Gaussian per pixel that fits `train` best. Both (N, D)."""
    density = norm(train.mean(0), train.std(0))
    return [density.logpdf(x).sum(1).mean() for x in (train, test)]


def main(folder: Path) -> None:
    split = data.prepare("frey", folder)
    ours = [x.reshape(len(x), -1) / split.scale for x in (split.train, split.test)]
    images = np.concatenate(ours)
    others = []
    for seed in range(OTHERS):
        order = np.random.default_rng(seed).permutation(len(images))
        others.append(fixed_point(*np.split(images[order], [len(ours[0])])))
    table = {
        "ours": fixed_point(*ours),
        "others": np.mean(others, axis=0),
        "sd": np.std(others, axis=0, ddof=1),
    }
    pd.DataFrame(table, index=pd.Index(["train", "test"], name="split")).to_csv(
        sys.stdout, float_format="%.3f"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
