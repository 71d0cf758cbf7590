"""Could the paper's run be one of ours? Differences from its curves in Figure 2 beside how far our seeds lie apart.

    python studies/seed_noise.py --page docs/deviations.md

The paper made one run a curve. Were it one of ours, its difference from the mean of n seeds would have the variance
s^2 (1 + 1/n), where s^2 is the variance of a seed. Both are pooled over the panels of a data set and method, on test;
train curves are running means over other stretches in the paper. It is a description and no test: seeds lie further
apart in some panels than in others, and panels share the minibatches of a seed. Trains nothing: it reads what is kept
in results/reference/.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import figure2
from aevb import curves, markdown
from aevb.datasets import dataset_name

SAMPLES = (1_000_000, 10_000_000)
KIND = ["dataset", "method"]


def panels(ours: pd.DataFrame, paper: pd.DataFrame, samples: int) -> pd.DataFrame:
    """A line a test curve that has several seeds, none of them diverged, at `samples`: KIND, n_latent, n, variance of
    a seed, difference from the paper, in nats.

    ours: as `curves.figure2_curves` gives them. paper: as results/reference/paper.csv.
    """
    panel = [*KIND, "n_latent"]
    at = ours[(ours["samples"] == samples) & (ours["split"] == "test")].groupby(panel)["nats"]
    found = pd.DataFrame({"n": at.count(), "mean": at.mean(), "variance": at.var()})
    found = found[(found["n"] > 1) & (found["n"] == at.size())].reset_index()
    shown = paper[(paper["figure"] == 2) & (paper["split"] == "test") & (paper["samples"] > 0)]
    theirs = shown.groupby(panel)
    names = found[panel].itertuples(index=False, name=None)
    values = [float(curves.interpolate(theirs.get_group(name), samples)) for name in names]
    return found.assign(difference=found["mean"] - values)


def pooled(found: pd.DataFrame) -> dict[str, float]:
    """Of the panels of one KIND: root mean square of the differences, what seeds alone would make it, their mean."""
    beyond = found["n"] - 1
    variance = (found["variance"] * beyond).sum() / beyond.sum()
    return {
        "rms": float(np.sqrt((found["difference"] ** 2).mean())),
        "by_seeds": float(np.sqrt(variance * (1 + 1 / found["n"]).mean())),
        "mean": float(found["difference"].mean()),
    }


def lines(ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    differs = "differences from the paper: root mean square | by our seeds alone | mean"
    yield f"| Figure 2 | samples | N_z: seeds | a seed's standard deviation, lowest and highest | {differs} |"
    yield f"|---|--:|---|{4 * '--:|'}"
    for samples in SAMPLES:
        for (dataset, method), found in panels(ours, paper, samples).groupby(KIND):
            what = f"{dataset_name(dataset)}, {curves.method_name(method)}"
            seeds = ", ".join(f"{n_latent}: {n}" for n_latent, n in found[["n_latent", "n"]].to_numpy())
            low, high = np.sqrt([found["variance"].min(), found["variance"].max()])
            total = pooled(found)
            yield (
                f"| {what} | {samples / 1e6:g} M | {seeds} | {low:.1f} to {high:.1f} "
                f"| {total['rms']:.1f} | {total['by_seeds']:.1f} | {total['mean']:+.1f} |"
            )


def page() -> str:
    """The table as docs/deviations.md shows it."""
    return "\n".join(lines(*figure2.ours_and_papers()))


if __name__ == "__main__":
    place = Path(sys.argv[2])
    place.write_text(markdown.insert_between_markers(place.read_text(), "seeds", page()))
