"""Does the recognition model of the authors' library take wake-sleep on MNIST where the paper's curves go?

    python studies/wake_sleep_scaled.py POINTS FOLDER > results/reference/wake_sleep_scaled.csv
    python studies/wake_sleep_scaled.py --page results/reference/wake_sleep_scaled.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps copies of the source and the runs; what is trained there is not trained
again. Two readings are put alone into the source and trained on a seed of which a run of ours is kept: the same
initial draws, minibatches and noise. "Times 0.1" multiplies the recognition model's log-variance, bias and all. "As
published" is the library's MLBN_Inverse to the letter: the weights of the log-variance times 0.1, its bias as it is,
and both zero at the start. The csv has the bounds along training, in nats per data point.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import alternatives
import changes
import figure2
import figure3_readings
import pages
from aevb import config, curves, data
from aevb.training import Member, Trainer
from figure2_long import interpolated, line, reported
from frey_pace import by_split, first_point, since_start

ROOT = Path(__file__).parents[1]
METHOD, SEED, WORKERS = "wake_sleep", 1, 2
TIMES, PUBLISHED = "log-variance times 0.1", "recognition model as published"
READINGS = {
    TIMES: (alternatives.SCALED,),
    PUBLISHED: (
        figure3_readings.LOG_VARIANCE,
        changes.Change(
            "models.py",
            "        return Params(theta, phi)",
            '        for name in ("w_out", "b_out"):\n'
            "            phi[name][..., self.n_latent :] = 0\n"
            "        return Params(theta, phi)",
        ),
    ),
}
RUNS = (  # reading, N_z and samples
    *(
        (TIMES, n_latent, samples)
        for n_latent, samples in ((5, 10_000_000), (10, 4_000_000), (20, 10_000_000))
    ),
    *((PUBLISHED, n_latent, 10_000_000) for n_latent in (3, 5, 10, 20, 200)),
)
SHOWN = (500_000, 1_000_000, 2_000_000, 4_000_000, 10_000_000)  # report points
COLUMNS = ["reading", "n_latent", "split", "samples", "nats"]


def main(points: Path, folder: Path) -> None:
    sources = {
        reading: changes.changed_copy(first, folder / reading, *more)
        for reading, (first, *more) in READINGS.items()
    }

    def trained(run: tuple[str, int, int]) -> list[list[float | str]]:
        reading, *what = run
        arguments = "--train", json.dumps(what), str(points), str(folder / "store")
        found: list[list[float | str]] = changes.printed_with(sources[reading], __file__, *arguments)
        return [[reading, *row] for row in found]

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = [row for found in pool.map(trained, RUNS) for row in found]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


def train(n_latent: int, samples: int, points: Path, folder: Path) -> list[list[float | str]]:
    """In a process of its own, which imports the copy."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", METHOD, 500, n_latent, 50_000)
    trainer = Trainer(cell, data.load(points), torch.device("cpu"), folder)
    [run] = trainer.train([Member(SEED, alternatives.SLEEPY_MNIST.step_size)], samples)
    return [[n_latent, *row] for row in figure2.drawn(run.trace.rows)]


# ------------------------------------------------------------------------------------------------- the page


def lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Of each panel the paper's values; ours and those so read less the paper's, at its first report and at SHOWN.

    ours, paper: as figure2.ours_and_papers gives them.
    """
    yield f"| N_z | train / test | first report | {' | '.join(f'{samples / 1e6:g} M' for samples in SHOWN)} |"
    yield f"|--:|---|{(1 + len(SHOWN)) * '--:|'}"
    ours, paper = ours[ours["seed"] == SEED], paper[paper["figure"] == 2]
    for n_latent, tried in table.groupby("n_latent"):
        mine, theirs = (
            rows[(rows["dataset"] == "mnist") & (rows["method"] == METHOD) & (rows["n_latent"] == n_latent)]
            for rows in (ours, paper)
        )
        start = first_report(theirs)
        values = np.column_stack([at_first(theirs, start), interpolated(theirs, SHOWN)])
        yield line(n_latent, "the paper", values, "{:.1f}")
        readings = {
            name: tried[tried["reading"] == name] for name in READINGS if name in set(tried["reading"])
        }
        for name, rows in ({"as we read it": mine} | readings).items():
            found = np.column_stack([so_far(rows, start), reported(rows, SHOWN)])
            yield line(n_latent, f"{name}, less the paper", found - values, "{:+.1f}")


def first_report(theirs: pd.DataFrame) -> float:
    """The samples of the paper's first report in a panel, that of its train curve."""
    return first_point(theirs)[0]


def at_first(theirs: pd.DataFrame, start: float) -> list[float]:
    """The paper's first train point, a mean since the start, and its test bound there."""
    return [first_point(theirs)[1], float(curves.interpolate(by_split(theirs)[1], start))]


def so_far(rows: pd.DataFrame, start: float) -> list[float]:
    """The same of a run of ours; NaN where it has no such report."""
    train, test = (curve[curve["samples"] > 0] for curve in by_split(rows))
    if not test["samples"].min() <= start <= test["samples"].max():
        return [np.nan, np.nan]
    return [since_start(train, start), float(curves.interpolate(test, start))]


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table, *figure2.ours_and_papers()))


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(*json.loads(sys.argv[2]), *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("scaled", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
