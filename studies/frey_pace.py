"""AEVB on Frey Face is ahead of the paper: on another way, or further along the same one?

    python studies/frey_pace.py POINTS FOLDER > results/reference/frey_pace.csv
    python studies/frey_pace.py --page results/reference/frey_pace.csv docs/deviations.md

POINTS: results/data/frey.npz. FOLDER keeps the runs. Two curves are compared without their clocks: where one reaches
a training bound, what is its test bound, and how many samples has it taken? Ours are the runs that are kept, RUNS
what else might slow training down, one seed each; the csv has their bounds along training, in nats per data point.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import changes
import figure2
import pages
from aevb import config, curves, data
from aevb.schedule import BLOCK
from aevb.stack import Member
from aevb.training import Trainer

ROOT = Path(__file__).parents[1]
SAMPLES, WORKERS = 10_000_000, 2
LEVELS = {  # training bounds, in nats, that both the paper and ours pass
    2: (750, 800, 850, 900),
    5: (800, 900, 1000, 1100, 1200),
    10: (900, 1000, 1100, 1200, 1300, 1400),
    20: (900, 1000, 1100, 1200, 1300, 1400),
}


class Reading(NamedTuple):
    batch_size: int
    step_size: float
    warm_up: int  # updates in which Adagrad only accumulates
    initial_std: float = 0.01  # of all parameters


OURS, HALF = Reading(100, 0.01, 100), Reading(100, 0.005, 100)
FIVE_HUNDRED, WIDER = Reading(500, 0.01, 100), Reading(500, 0.01, 100, 0.02)
FASTER = Reading(500, 0.02, 100)
OTHERS = (
    HALF,
    Reading(200, 0.01, 100),
    Reading(100, 0.01, 500),
)
RUNS = (  # with their N_z and samples
    *((reading, n_latent, SAMPLES) for n_latent in (10, 20) for reading in OTHERS),
    *((HALF, n_latent, SAMPLES) for n_latent in (2, 5)),
    *((FIVE_HUNDRED, n_latent, SAMPLES) for n_latent in (2, 5, 20)),
    (FIVE_HUNDRED, 10, 50_000_000),
    (FASTER, 10, SAMPLES),
    (FASTER, 20, 40_000_000),
    *((WIDER, n_latent, SAMPLES) for n_latent in (10, 20)),
)
COLUMNS = [*Reading._fields, "n_latent", "split", "samples", "bound"]


class Met(NamedTuple):
    """Where a curve reaches a training bound."""

    samples: float
    test: float


def meets(train: pd.DataFrame, test: pd.DataFrame, level: float) -> Met:
    """Both (samples, nats); NaN where the training curve does not reach the level."""
    train, test = (curve[curve["samples"] > 0].sort_values("samples") for curve in (train, test))
    rising = train[train["nats"] > train["nats"].cummax().shift(fill_value=-np.inf)]
    if not rising["nats"].min() <= level <= rising["nats"].max():
        return Met(np.nan, np.nan)
    samples = float(np.exp(np.interp(level, rising["nats"], np.log(rising["samples"]))))
    return Met(samples, float(curves.interpolate(test, samples)))


def since_start(train: pd.DataFrame, samples: float) -> float:
    """The mean of the training estimates from the first sample on, in nats: what a curve's first report shows.

    NaN where the curve, whose points are means since the point before, lacks its first report."""
    train = train[train["samples"] > 0].sort_values("samples")
    if train["samples"].min() > BLOCK:  # the first report
        return np.nan
    gaps = train["samples"].diff().fillna(train["samples"])
    sums = np.interp(samples, [0, *train["samples"]], [0, *(gaps * train["nats"]).cumsum()])
    return float(sums / samples)


def first_point(curve: pd.DataFrame) -> tuple[float, float]:
    """Samples and nats of a curve's first train point."""
    start = by_split(curve)[0].nsmallest(1, "samples")
    return float(start["samples"].item()), float(start["nats"].item())


def by_split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return rows[rows["split"] == "train"], rows[rows["split"] == "test"]


def shown(rows: pd.DataFrame, n_latent: int, method: str = "aevb") -> pd.DataFrame:
    """A method's curves of a panel of Figure 2, of a table in the paper's terms."""
    rows = rows[(rows["dataset"] == "frey") & (rows["method"] == method) & (rows["n_latent"] == n_latent)]
    return rows[rows["figure"] == 2] if "figure" in rows else rows


def ours_and_papers() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of ours seed 0, with which the other readings share their draws."""
    ours, paper = figure2.ours_and_papers()
    return ours[ours["seed"] == 0], paper


def trained(
    reading: Reading,
    estimator: str,
    n_latent: int,
    samples: int,
    points: Path,
    folder: Path,
    seed: int = 0,
) -> list[list[float | str]]:
    """The rows of a run, without its reading: n_latent, split, samples, bound."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("frey", estimator, 200, n_latent, 1600)
    cell = cell.model_copy(update={"batch_size": reading.batch_size, "warm_up": reading.warm_up})
    trainer = Trainer(cell, data.load(points), torch.device("cpu"), folder)
    [run] = trainer.train([Member(seed, reading.step_size)], samples)
    return [[n_latent, *row] for row in figure2.drawn(run.trace.rows)]


def source_of(reading: Reading, folder: Path) -> Path:
    """The package as it is, or a copy in `folder` that starts otherwise, whose runs have addresses of their own in a
    store: a PYTHONPATH."""
    if reading.initial_std == OURS.initial_std:
        return changes.PACKAGE.parent
    start = "INITIAL_STD = {:g}".format
    change = changes.Change("models.py", start(OURS.initial_std), start(reading.initial_std))
    return changes.changed_copy(folder / f"initial-std-{reading.initial_std:g}", change)


def said_of_each(
    script: str, runs: Sequence[tuple[Any, ...]], points: str, folder: str
) -> list[list[list[float | str]]]:
    """What `script --one` prints of each run, WORKERS of them at a time, each in a process of its own."""
    sources = {run[0]: source_of(run[0], Path(folder)) for run in runs}

    def said(run: tuple[Any, ...]) -> list[list[float | str]]:
        return changes.printed_with(sources[run[0]], script, "--one", json.dumps(run), points, folder)

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(said, runs))


def main(points: str, folder: str) -> None:
    found = said_of_each(__file__, RUNS, points, folder)
    rows = [[*reading, *row] for (reading, *_), rows in zip(RUNS, found, strict=True) for row in rows]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def path_lines() -> Iterator[str]:
    """Ours beside the paper at the same training bounds: a line a panel and bound."""
    ours, paper = ours_and_papers()
    values = "paper | ours | paper / ours | test bound: paper | ours | ours less paper"
    yield f"| N_z | training bound | samples: {values} |"
    yield f"|{8 * '--:|'}"
    for n_latent, levels in LEVELS.items():
        for level in levels:
            mine, theirs = (meets(*by_split(shown(rows, n_latent)), level) for rows in (ours, paper))
            yield (
                f"| {n_latent} | {level} | {theirs.samples / 1e6:.2f} M | {mine.samples / 1e6:.2f} M "
                f"| {theirs.samples / mine.samples:.1f} | {theirs.test:.0f} | {mine.test:.0f} "
                f"| {mine.test - theirs.test:+.0f} |"
            )


def reading_lines(table: pd.DataFrame) -> Iterator[str]:
    """What each reading does to the pace: a line a panel and reading."""
    ours, paper = ours_and_papers()
    yield (
        "| N_z | minibatch | step size | warm-up | initial sd | first train point, less the paper's "
        "| paper's samples / its own, first (at a training bound of) | last "
        "| test at 1 M, less the paper's | at 10 M |"
    )
    yield f"|{10 * '--:|'}"
    for n_latent, levels in LEVELS.items():
        theirs = shown(paper, n_latent)
        tried = table[table["n_latent"] == n_latent].rename(columns={"bound": "nats"})
        found = {Reading(*reading): rows for reading, rows in tried.groupby(list(Reading._fields))}
        for reading, rows in ({OURS: shown(ours, n_latent)} | found).items():
            paces = {
                level: meets(*by_split(theirs), level).samples / meets(*by_split(rows), level).samples
                for level in levels
            }
            first, *more = (f"{pace:.1f} ({level})" for level, pace in paces.items() if np.isfinite(pace))
            samples, nats = first_point(theirs)
            late = since_start(by_split(rows)[0], samples) - nats
            ahead = [
                f"{curves.interpolate(_tested(rows), at) - curves.interpolate(_tested(theirs), at):+.0f}"
                for at in (1e6, 1e7)
            ]
            began = f"{late:+.0f}" if np.isfinite(late) else "–"
            paced = [first, more[-1] if more else "–"]
            cells = [f"{value:g}" for value in (n_latent, *reading)] + [began, *paced, *ahead]
            yield f"| {' | '.join(cells)} |"


def _tested(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["split"] == "test") & (rows["samples"] > 0)]


def page(table: pd.DataFrame) -> str:
    """Both tables as docs/deviations.md shows them."""
    return "\n".join([*path_lines(), "", *reading_lines(table)])


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        reading, n_latent, samples = json.loads(sys.argv[2])
        print(json.dumps(trained(Reading(*reading), "aevb", n_latent, samples, *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("pace", page, *sys.argv[2:])
    else:
        main(*sys.argv[1:])
