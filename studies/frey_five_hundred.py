"""AEVB on Frey Face with minibatches of 500, which the paper's reports speak for: do its seeds hold the paper's run?

    python studies/frey_five_hundred.py POINTS FOLDER > results/reference/frey_five_hundred.csv
    python studies/frey_five_hundred.py --page results/reference/frey_five_hundred.csv docs/deviations.md
    python studies/frey_five_hundred.py --figure results/reference/frey_five_hundred.csv docs/figures/frey_face.png

POINTS: results/data/frey.npz. FOLDER keeps the runs. With each of two of the paper's step sizes; with the third a run
begins far below, in minibatches of 100 (`frey_start.py`). The csv has the bounds of every seed along training, in
nats per data point; ours, with the minibatches of 100 that the text has, are the runs that are kept.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure

import figure2
import pages
from aevb import curves
from aevb.drawing import STYLE
from frey_pace import (
    FASTER,
    FIVE_HUNDRED,
    SAMPLES,
    WORKERS,
    Reading,
    by_split,
    draw_test,
    first_point,
    shown,
    since_start,
    trained,
)

LATENTS = (2, 5, 10, 20)
READINGS = {FIVE_HUNDRED: (0, 1), FASTER: (0, 1, 2)}  # with their seeds
SHOWN = (1_000_000, 4_000_000, 10_000_000)
COLOURS = ("tab:orange", "tab:blue", "tab:green")  # ours, then READINGS
COLUMNS = ["step_size", "seed", "n_latent", "split", "samples", "nats"]


def main(points: str, folder: str) -> None:
    runs = [
        (reading.step_size, seed, n_latent)
        for reading, seeds in READINGS.items()
        for n_latent in LATENTS
        for seed in seeds
    ]

    def found(run: tuple[float, int, int]) -> list[list[float | str]]:
        command = [sys.executable, __file__, "--one", json.dumps(run), points, folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return [[*run[:2], *row] for row in json.loads(done.stdout)]

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = [row for rows in pool.map(found, runs) for row in rows]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


def one(step_size: float, seed: int, n_latent: int, points: str, folder: str) -> list[list[float | str]]:
    reading = FIVE_HUNDRED._replace(step_size=step_size)
    return trained(reading, "aevb", n_latent, SAMPLES, Path(points), Path(folder), seed)


# ------------------------------------------------------------------------------------------------- the page


def readings(
    table: pd.DataFrame, ours: pd.DataFrame, n_latent: int
) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """Of a panel each reading's name and the curves of its seeds, ours first."""
    mine = shown(ours, n_latent)
    yield "100, step size 0.01", [run for _, run in mine.groupby("seed")]
    for reading in READINGS:
        tried = table[(table["n_latent"] == n_latent) & (table["step_size"] == reading.step_size)]
        yield _name(reading), [run for _, run in tried.groupby("seed")]


def _name(reading: Reading) -> str:
    return f"{reading.batch_size}, step size {reading.step_size:g}"


def lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Every seed less the paper: the first train point, and test at SHOWN."""
    tested = " | ".join(f"test at {samples / 1e6:g} M" for samples in SHOWN)
    yield f"| N_z | minibatches of | first train point, by seed | {tested} |"
    yield f"|--:|---|{(1 + len(SHOWN)) * '---|'}"
    for n_latent in LATENTS:
        theirs = shown(paper, n_latent)
        for name, runs in readings(table, ours, n_latent):
            sides = zip(*(behind(run, theirs) for run in runs), strict=True)
            cells = [", ".join(_signed(value) for value in values) for values in sides]
            yield f"| {n_latent} | {name} | {' | '.join(cells)} |"


def behind(run: pd.DataFrame, theirs: pd.DataFrame) -> list[float]:
    """What a run has less the paper: at the first train point the mean since the start (NaN where its start is not
    known), on test at SHOWN."""
    (train, test), (start, nats) = by_split(run), first_point(theirs)
    mine, papers = (curves.interpolate(curve, SHOWN) for curve in (test, by_split(theirs)[1]))
    return [since_start(train, start) - nats, *(mine - papers)]


def _signed(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:+.0f}"


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table, *figure2.ours_and_papers()))


# ----------------------------------------------------------------------------------------------- the figure


def figure(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """A panel for each N_z: test bounds of every seed and the paper's reports."""
    with style.context(STYLE):
        drawn = Figure(figsize=(9.0, 3.2), layout="constrained")
        panels = drawn.subplots(1, len(LATENTS), sharey=True)
        for axes, n_latent in zip(panels, LATENTS, strict=True):
            for (name, runs), colour in zip(readings(table, ours, n_latent), COLOURS, strict=True):
                for number, run in enumerate(runs):
                    draw_test(axes, run, color=colour, linewidth=0.7, label=None if number else name)
            draw_test(
                axes, shown(paper, n_latent), color="black", linestyle="", marker=".", label="the paper"
            )
            axes.set(xscale="log", xlim=(1e5, 1e7), ylim=(500, 1350), title=f"$N_z$ = {n_latent}")
        panels[0].set_ylabel("lower bound on test, nats")
        drawn.supxlabel("training samples", fontsize="medium")
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=4, title="minibatches of")
    return drawn


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(one(*json.loads(sys.argv[2]), *sys.argv[3:])))
    elif sys.argv[1] == "--page":
        pages.show("frey-five-hundred", page, *sys.argv[2:])
    elif sys.argv[1] == "--figure":
        pages.save(figure(pd.read_csv(sys.argv[2]), *figure2.ours_and_papers()), sys.argv[3])
    else:
        main(*sys.argv[1:])
