"""Could the paper's run be one of ours? Differences from its curves in Figure 2 beside how far our seeds lie apart.

    python studies/seed_noise.py --page docs/deviations.md

The paper made one run a curve. Were it one of ours, its difference from the mean of n seeds would have the variance
s^2 (1 + 1/n), where s^2 is the variance of a seed, and in 95 of 100 curves lie within t s sqrt(1 + 1/n) of zero, with
Student's t of n - 1 degrees of freedom. Curve by curve that is a test, weak with three seeds. Pooled over the panels
of a data set and method it is a description: seeds lie further apart in some panels than in others, and panels share
the minibatches of a seed. Trains nothing: it reads what is kept in results/reference/.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import figure2
from aevb import curves, intervals, markdown
from aevb.datasets import dataset_name

SAMPLES = (1_000_000, 10_000_000)
SPLITS = ("train", "test")
KIND = ["dataset", "method"]
PANEL = [*KIND, "n_latent"]


def panels(ours: pd.DataFrame, paper: pd.DataFrame, samples: int, split: str = "test") -> pd.DataFrame:
    """A line a curve that has several seeds, none of them diverged, at `samples`: KIND, n_latent, n, variance of
    a seed, difference from the paper, in nats.

    ours: as `curves.figure2_curves` gives them. paper: as results/reference/paper.csv.
    """
    at = ours[(ours["samples"] == samples) & (ours["split"] == split)].groupby(PANEL)["nats"]
    found = pd.DataFrame({"n": at.count(), "mean": at.mean(), "variance": at.var()})
    found = found[(found["n"] > 1) & (found["n"] == at.size())].reset_index()
    shown = paper[(paper["figure"] == 2) & (paper["split"] == split) & (paper["samples"] > 0)]
    theirs = shown.groupby(PANEL)
    names = found[PANEL].itertuples(index=False, name=None)
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


def of_one_run(found: pd.DataFrame) -> NDArray[np.float64]:
    """Half of the interval in which the difference lies in 95 of 100 panels where the paper's run is one of ours."""
    of_mean = intervals.half_width(np.sqrt(found["variance"]), found["n"])
    return intervals.of_one_more(of_mean, found["n"])


def every_panel(ours: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """`panels` of all SAMPLES and SPLITS, which are columns too, with `one_more`, the interval of `of_one_run`."""
    found = pd.concat(
        [
            panels(ours, paper, samples, split).assign(samples=samples, split=split)
            for samples in SAMPLES
            for split in SPLITS
        ]
    )
    return found.assign(one_more=of_one_run(found))


def curve_by_curve(ours: pd.DataFrame, paper: pd.DataFrame) -> str:
    """A row a panel; bold: the paper's run lies outside of the interval of one of ours."""
    found = every_panel(ours, paper)
    at = found["split"] + ", " + (found["samples"] // 1_000_000).astype(str) + " M"
    cells = found["difference"].map("{:+.1f}".format) + " ± " + found["one_more"].map("{:.1f}".format)
    found["cell"] = cells.where(found["difference"].abs() <= found["one_more"], "**" + cells + "**")
    shown = found.assign(at=at).pivot(index=PANEL, columns="at", values="cell")[at.unique()].fillna("–")
    seeds = found.groupby(PANEL)["n"].max()
    rows = [
        (kind_name(dataset, method), n_latent, seeds[dataset, method, n_latent], *values)
        for (dataset, method, n_latent), values in zip(shown.index, shown.to_numpy(), strict=True)
    ]
    return markdown.table(["Figure 2", "N_z", "seeds", *shown], "l" + "r" * (2 + len(shown.columns)), rows)


def kind_by_kind(ours: pd.DataFrame, paper: pd.DataFrame) -> str:
    """A row a data set and method, test curves."""
    rows = []
    for samples in SAMPLES:
        for (dataset, method), found in panels(ours, paper, samples).groupby(KIND):
            low, high = np.sqrt([found["variance"].min(), found["variance"].max()])
            total = pooled(found)
            rows.append(
                [
                    kind_name(dataset, method),
                    f"{samples / 1e6:g} M",
                    ", ".join(f"{n_latent}: {n}" for n_latent, n in found[["n_latent", "n"]].to_numpy()),
                    f"{low:.1f} to {high:.1f}",
                    f"{total['rms']:.1f}",
                    f"{total['by_seeds']:.1f}",
                    f"{total['mean']:+.1f}",
                ]
            )
    spread = "a seed's standard deviation, lowest and highest"
    differs = ("differences from the paper: root mean square", "by our seeds alone", "mean")
    return markdown.table(["Figure 2", "samples", "N_z: seeds", spread, *differs], "lrlrrrr", rows)


def kind_name(dataset: str, method: str) -> str:
    return f"{dataset_name(dataset)}, {curves.method_name(method)}"


def blocks() -> dict[str, str]:
    """The tables as docs/deviations.md shows them."""
    both = figure2.ours_and_papers()
    return {"seeds": kind_by_kind(*both), "one-of-ours": curve_by_curve(*both)}


if __name__ == "__main__":
    place = Path(sys.argv[2])
    place.write_text(markdown.filled(place.read_text(), blocks()))
