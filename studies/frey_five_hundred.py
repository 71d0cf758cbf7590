"""AEVB on Frey Face with minibatches of 500, which the paper's reports speak for: do its seeds hold the paper's run?

    python studies/frey_five_hundred.py POINTS FOLDER > results/reference/frey_five_hundred.csv
    python studies/frey_five_hundred.py --page results/reference/frey_five_hundred.csv docs/deviations.md
    python studies/frey_five_hundred.py --figure results/reference/frey_five_hundred.csv docs/figures/frey_face.png

POINTS: results/data/frey.npz. FOLDER keeps the runs. With each of two of the paper's step sizes; with the third a run
begins far below, in minibatches of 100 (`frey_start.py`). The csv has the bounds of every seed along training, in
nats per data point; ours, with the minibatches of 100 that the text has, are the runs that are kept.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import figure2
import pages
import seeds
from frey_pace import FASTER, FIVE_HUNDRED, OURS, SAMPLES, Reading, said_of_each, shown, trained

LATENTS = (2, 5, 10, 20)
READINGS = {FIVE_HUNDRED: (0, 1), FASTER: (0, 1, 2)}  # with their seeds
SHOWN = (1_000_000, 4_000_000, 10_000_000)
COLUMNS = ["step_size", "seed", "n_latent", "split", "samples", "nats"]


def main(points: str, folder: str) -> None:
    runs = [
        (reading, n_latent, seed)
        for reading, seeds_of_it in READINGS.items()
        for n_latent in LATENTS
        for seed in seeds_of_it
    ]
    found = said_of_each(__file__, runs, points, folder)
    rows = [
        [reading.step_size, seed, *row]
        for (reading, _, seed), rows in zip(runs, found, strict=True)
        for row in rows
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def panels(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> dict[int, seeds.Panel]:
    """By N_z the seeds of ours and of READINGS, and the paper's run."""
    tried = dict(list(table.groupby(["n_latent", "step_size"])))
    return {
        n: seeds.Panel(
            {_name(OURS): seeds.of(shown(ours, n))}
            | {_name(reading): seeds.of(tried[n, reading.step_size]) for reading in READINGS},
            shown(paper, n),
        )
        for n in LATENTS
    }


def _name(reading: Reading) -> str:
    return f"{reading.batch_size}, step size {reading.step_size:g}"


def lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Every seed less the paper: the first train point, and test at SHOWN."""
    tested = " | ".join(f"test at {samples / 1e6:g} M" for samples in SHOWN)
    yield f"| N_z | minibatches of | first train point, by seed | {tested} |"
    yield f"|--:|---|{(1 + len(SHOWN)) * '---|'}"
    for n_latent, panel in panels(table, ours, paper).items():
        for name, runs in panel.readings.items():
            cells = seeds.cells((behind(run, panel.paper) for run in runs), "{:+.0f}")
            yield f"| {n_latent} | {name} | {' | '.join(cells)} |"


def behind(run: pd.DataFrame, theirs: pd.DataFrame) -> list[float]:
    """What a run has less the paper at its first train point and, on test, at SHOWN."""
    return seeds.behind(run, theirs, SHOWN)


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table, *figure2.ours_and_papers()))


def figure(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    return seeds.figure(panels(table, ours, paper), (500, 1350), title="minibatches of")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        (reading, n_latent, seed), places = json.loads(sys.argv[2]), map(Path, sys.argv[3:])
        print(json.dumps(trained(Reading(*reading), "aevb", n_latent, SAMPLES, *places, seed)))
    elif sys.argv[1] == "--page":
        pages.show("frey-five-hundred", page, *sys.argv[2:])
    elif sys.argv[1] == "--figure":
        pages.save(figure(pd.read_csv(sys.argv[2]), *figure2.ours_and_papers()), sys.argv[3])
    else:
        main(*sys.argv[1:])
