"""What would take AEVB on MNIST where the paper's curves of Figure 2 go, far beyond 10^7 samples?

    python studies/figure2_long.py POINTS FOLDER > results/reference/figure2_long.csv
    python studies/figure2_long.py --page results/reference/figure2_long.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps the copies of the source and the runs; what is trained there is not
trained again. The readings are trained on a seed of which a long run of ours is kept: the same initial draws,
minibatches and noise (but pixels that are drawn take their draws from the minibatches' stream). The csv has their
bounds along training, in nats per data point.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import alternatives
import changes
import figure2
import pages
from aevb import config, curves, data
from aevb.stack import Member
from aevb.training import Trainer
from changes import Change

ROOT = Path(__file__).parents[1]
SEED, WORKERS = 1, 2
SHOWN = (1_000_000, 10_000_000, 20_000_000, 32_000_000, 50_000_000)  # report points
OURS, SPLITS = "as we read it", ("train", "test")


class Reading(NamedTuple):
    change: Change
    step_size: float


# those of its auto-encoder: the encoder's log-variance, and the decoder's output biases
LIBRARYS_ZEROS = alternatives.FROM_ZERO._replace(
    new='        theta["b_out"].zero_()\n' + alternatives.FROM_ZERO.new
)
READINGS = {
    "prior in full for every minibatch": Reading(alternatives.FULL_PRIOR, alternatives.MNIST.step_size),
    "prior in full on the encoder alone": Reading(
        alternatives.FULL_PRIOR_AEVB_ENCODER, alternatives.MNIST.step_size
    ),
    "prior of standard deviation 0.25": Reading(alternatives.NARROW_PRIOR, alternatives.MNIST.step_size),
    "step size 0.01": Reading(alternatives.NOTHING, 0.01),
    "step size 0.1": Reading(alternatives.NOTHING, 0.1),
    "drawn as 0 or 1 at every visit": Reading(alternatives.DRAWN, alternatives.MNIST.step_size),
    "begun with the library's zeros": Reading(LIBRARYS_ZEROS, alternatives.MNIST.step_size),
}


class Run(NamedTuple):
    n_latent: int
    reading: str
    samples: int


RUNS = (
    Run(3, "prior in full for every minibatch", 32_000_000),
    Run(20, "prior in full for every minibatch", 32_000_000),
    Run(20, "step size 0.01", 10_000_000),
    Run(3, "step size 0.1", 10_000_000),
    Run(5, "prior in full on the encoder alone", 20_000_000),
    Run(20, "prior in full on the encoder alone", 10_000_000),
    Run(5, "drawn as 0 or 1 at every visit", 10_000_000),
    Run(3, "prior of standard deviation 0.25", 32_000_000),
    Run(3, "step size 0.01", 20_000_000),
    Run(3, "begun with the library's zeros", 10_000_000),
)
COLUMNS = ["n_latent", "reading", "split", "samples", "nats"]


def read_so(run: Run, points: Path, folder: Path) -> list[list[float | str]]:
    """The rows of a run, in a process of its own that imports a package with the reading's change."""
    place = folder / f"{run.reading.replace(' ', '-')}-z{run.n_latent}"
    source = changes.changed_copy(place, READINGS[run.reading].change)
    arguments = "--train", json.dumps(run), str(points), str(place / "store")
    found: list[list[float | str]] = changes.printed_with(source, __file__, *arguments)
    return found


def train(run: Run, points: Path, folder: Path) -> list[list[float | str]]:
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", "aevb", 500, run.n_latent, 50_000)
    trainer = Trainer(cell, data.load(points), torch.device("cpu"), folder)
    [trained] = trainer.train([Member(SEED, READINGS[run.reading].step_size)], run.samples)
    return [[run.n_latent, run.reading, *row] for row in figure2.drawn(trained.trace.rows)]


def main(points: Path, folder: Path) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(lambda run: read_so(run, points, folder), RUNS))
    rows = [row for rows in found for row in rows]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """A line for the paper in each panel in which ours went all the way or a reading was tried, and one for each
    reading, ours first. ours, paper: as figure2.ours_and_papers gives them."""
    yield f"| N_z | train / test | {' | '.join(f'{samples / 1e6:.0f} M' for samples in SHOWN)} |"
    yield f"|--:|---|{len(SHOWN) * '--:|'}"
    ours, paper = _of_mnist(ours[ours["seed"] == SEED]), _of_mnist(paper[paper["figure"] == 2])
    far = ours[ours["samples"] >= SHOWN[-1]]
    for n_latent in sorted({*far["n_latent"], *table["n_latent"]}):
        theirs = paper[paper["n_latent"] == n_latent]
        values = interpolated(theirs, SHOWN)
        yield line(n_latent, "the paper", values, "{:.1f}")
        tried = table[table["n_latent"] == n_latent]
        readings = {name: tried[tried["reading"] == name] for name in tried["reading"].unique()}
        for name, rows in ({OURS: ours[ours["n_latent"] == n_latent]} | readings).items():
            yield line(n_latent, f"{name}, less the paper", reported(rows, SHOWN) - values, "{:+.1f}")


def line(n_latent: int, name: str, values: NDArray[np.float64], form: str) -> str:
    """values: (train and test, SHOWN); a dash where a run has no point."""
    shown = [
        "–" if np.isnan(pair).any() else " / ".join(form.format(value) for value in pair) for pair in values.T
    ]
    return f"| {n_latent} | {name} | {' | '.join(shown)} |"


def _of_mnist(rows: pd.DataFrame) -> pd.DataFrame:
    """AEVB's curves of MNIST."""
    return rows[(rows["dataset"] == "mnist") & (rows["method"] == "aevb")]


def interpolated(theirs: pd.DataFrame, points: Sequence[int]) -> NDArray[np.float64]:
    """The paper's values at these samples, (train and test, points)."""
    return np.stack([curves.interpolate(theirs[theirs["split"] == split], points) for split in SPLITS])


def reported(rows: pd.DataFrame, points: Sequence[int]) -> NDArray[np.float64]:
    """A run's values there, (train and test, points); NaN where it has no report."""
    by_split = (rows[rows["split"] == split].set_index("samples")["nats"] for split in SPLITS)
    return np.stack([nats.reindex(points).to_numpy() for nats in by_split])


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table, *figure2.ours_and_papers()))


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(Run(*json.loads(sys.argv[2])), *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("beyond", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
