"""Does the recognition model of the authors' library take wake-sleep on MNIST where the paper's curves go?

    python studies/wake_sleep_scaled.py POINTS FOLDER > results/reference/wake_sleep_scaled.csv
    python studies/wake_sleep_scaled.py --page results/reference/wake_sleep_scaled.csv docs/deviations.md
    python studies/wake_sleep_scaled.py --figure results/reference/wake_sleep_scaled.csv docs/figures/wake_sleep.png

POINTS: results/data/mnist.npz. FOLDER keeps copies of the source and the runs; what is trained there is not trained
again. Two readings are put alone into the source and trained on seeds of which runs of ours are kept, one seed or
all: the same initial draws, minibatches and noise. "Times 0.1" multiplies the recognition model's log-variance, bias
and all. "As published" is the library's MLBN_Inverse to the letter: the weights of the log-variance times 0.1, its
bias as it is, and both zero at the start. The csv has the bounds along training, in nats per data point.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import alternatives
import figure2
import figure3_readings
import pages
import readings
import seeds
from aevb import config, curves, data
from aevb.stack import Member
from aevb.training import Trainer
from figure2_long import interpolated, line, reported
from frey_pace import by_split, first_point, since_start

ROOT = Path(__file__).parents[1]
METHOD, SEEDS = "wake_sleep", (0, 1, 2)
FOLLOWED = 1  # the seed that is shown along training
OURS, TIMES, PUBLISHED = "as we read it", "log-variance times 0.1", figure3_readings.PUBLISHED
READINGS = {
    TIMES: (alternatives.SCALED,),
    PUBLISHED: alternatives.AS_PUBLISHED,
}
LATENTS = (3, 5, 10, 20, 200)
RUNS = (  # reading, N_z, seed and samples
    *(
        (TIMES, n_latent, FOLLOWED, samples)
        for n_latent, samples in ((5, 10_000_000), (10, 4_000_000), (20, 10_000_000))
    ),
    *(
        (PUBLISHED, n_latent, seed, 10_000_000 if seed == FOLLOWED else 1_000_000)
        for n_latent in LATENTS
        for seed in SEEDS
    ),
)
SHOWN = (500_000, 1_000_000, 2_000_000, 4_000_000, 10_000_000)  # report points
COLUMNS = ["reading", "n_latent", "seed", "split", "samples", "nats"]


def main(points: Path, folder: Path) -> None:
    found = readings.found(__file__, READINGS, RUNS, points, folder)
    rows = [[name, *row] for (name, *_), rows in zip(RUNS, found, strict=True) for row in rows]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


def train(n_latent: int, seed: int, samples: int, points: Path, folder: Path) -> list[list[float | str]]:
    """In a process of its own, which imports the copy."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", METHOD, 500, n_latent, 50_000)
    trainer = Trainer(cell, data.load(points), torch.device("cpu"), folder)
    [run] = trainer.train([Member(seed, alternatives.SLEEPY_MNIST.step_size)], samples)
    return [[n_latent, seed, *row] for row in figure2.drawn(run.trace.rows)]


# ------------------------------------------------------------------------------------------------- the page


def lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Of each panel the paper's values; ours and those so read less the paper's, at its first report and at SHOWN.

    ours, paper: as figure2.ours_and_papers gives them.
    """
    yield f"| N_z | train / test | first report | {' | '.join(f'{samples / 1e6:g} M' for samples in SHOWN)} |"
    yield f"|--:|---|{(1 + len(SHOWN)) * '--:|'}"
    for n_latent, tried in table[table["seed"] == FOLLOWED].groupby("n_latent"):
        mine, theirs = (of_panel(rows, n_latent) for rows in (ours[ours["seed"] == FOLLOWED], paper))
        start = first_report(theirs)
        values = np.column_stack([at_first(theirs, start), interpolated(theirs, SHOWN)])
        yield line(n_latent, "the paper", values, "{:.1f}")
        readings = {
            name: tried[tried["reading"] == name] for name in READINGS if name in set(tried["reading"])
        }
        for name, rows in ({OURS: mine} | readings).items():
            found = np.column_stack([so_far(rows, start), reported(rows, SHOWN)])
            yield line(n_latent, f"{name}, less the paper", found - values, "{:+.1f}")


def seed_lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Every seed less the paper, ours and as published: the first train point, and test at 10^6."""
    yield "| N_z | | first train point, by seed | test at 1 M, by seed |"
    yield "|--:|---|---|---|"
    for n_latent, panel in panels(table, ours, paper).items():
        for name, runs in panel.readings.items():
            cells = seeds.cells((behind(run, panel.paper) for run in runs), "{:+.1f}")
            yield f"| {n_latent} | {name} | {' | '.join(cells)} |"


def panels(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> dict[int, seeds.Panel]:
    """By N_z the seeds as we read it and as published, and the paper's run."""
    published = table[table["reading"] == PUBLISHED]
    return {
        n: seeds.Panel(
            {OURS: seeds.of(of_panel(ours, n)), PUBLISHED: seeds.of(published[published["n_latent"] == n])},
            of_panel(paper, n),
        )
        for n in LATENTS
    }


def behind(run: pd.DataFrame, theirs: pd.DataFrame) -> list[float]:
    """What a run has less the paper at its first train point and, on test, at 10^6."""
    return seeds.behind(run, theirs, [1_000_000])


def of_panel(rows: pd.DataFrame, n_latent: int) -> pd.DataFrame:
    rows = rows[(rows["dataset"] == "mnist") & (rows["method"] == METHOD) & (rows["n_latent"] == n_latent)]
    return rows[rows["figure"] == 2] if "figure" in rows else rows


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
    both = figure2.ours_and_papers()
    return "\n".join([*lines(table, *both), "", *seed_lines(table, *both)])


def figure(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    return seeds.figure(panels(table, ours, paper), (-185, -105))


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(*json.loads(sys.argv[2]), *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("scaled", page, *sys.argv[2:])
    elif sys.argv[1] == "--figure":
        pages.save(figure(pd.read_csv(sys.argv[2]), *figure2.ours_and_papers()), sys.argv[3])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
