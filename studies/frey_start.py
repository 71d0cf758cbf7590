"""How long does a run on Frey Face stay where it starts: in the paper, in ours, and in other readings?

    python studies/frey_start.py POINTS FOLDER > results/reference/frey_start.csv
    python studies/frey_start.py --page results/reference/frey_start.csv docs/deviations.md

POINTS: results/data/frey.npz. FOLDER keeps the runs. The first train point of a curve of Figure 2 is the mean since
the start, and the start is at -526: what it lacks to where the curve is next, times its samples, says how many
samples were taken there. A reading must have that for both methods, must climb to the paper's first test point, and
wake-sleep with N_z = 2 must stay at 569 from there, as in the paper. The csv has the bounds of each reading, one seed
each, in nats per data point; ours are the runs that are kept.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import figure2
import pages
import seeds
from aevb import curves
from frey_pace import (
    COLUMNS,
    FASTER,
    FIVE_HUNDRED,
    OURS,
    Reading,
    by_split,
    first_point,
    said_of_each,
    shown,
    since_start,
    trained,
)

SAMPLES = 1_000_000  # beyond the second test point of every panel
PANELS = [(method, n_latent) for method in ("aevb", "wake_sleep") for n_latent in (2, 5, 10, 20)]
OTHERS = (
    Reading(100, 0.005, 100),
    Reading(100, 0.02, 100),
    Reading(100, 0.1, 100),
    Reading(100, 0.01, 500),
    Reading(200, 0.01, 100),
    Reading(500, 0.005, 100),
    FIVE_HUNDRED,
    FASTER,
)
TRIED = (("aevb", 10), ("wake_sleep", 2))  # on which panels


def main(points: str, folder: str) -> None:
    runs = [(reading, *panel) for panel in TRIED for reading in OTHERS]
    found = said_of_each(__file__, runs, points, folder)
    rows = [[run[1], *run[0], *row] for run, rows in zip(runs, found, strict=True) for row in rows]
    pd.DataFrame(rows, columns=["method", *COLUMNS]).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def first_lines(ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """The first train point of every panel: the paper's, and the mean over those seeds of ours that have a curve
    from the start."""
    yield "| | " + " | ".join(f"{curves.method_name(method)}, {n}" for method, n in PANELS) + " |"
    yield f"|---|{len(PANELS) * '--:|'}"
    starts = [first_point(shown(paper, n_latent, method)) for method, n_latent in PANELS]
    yield f"| the paper | {' | '.join(f'{nats:.0f}' for _, nats in starts)} |"
    mine = [shown(ours, n_latent, method) for method, n_latent in PANELS]
    for name, share in (("after as many samples", 1.0), ("after a fifth of the samples", 0.2)):
        means = [
            pd.Series(
                [since_start(by_split(run)[0], share * samples) for _, run in rows.groupby("seed")]
            ).mean()
            for (samples, _), rows in zip(starts, mine, strict=True)
        ]
        yield f"| ours, {name} | {' | '.join(f'{mean:.0f}' for mean in means)} |"


def reading_lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Each reading less the paper: first train point, and the test bound there and where the paper's next one is."""
    columns = [f"{curves.method_name(method)}, N_z = {n}: first train point" for method, n in TRIED]
    tested = "test, first | second"
    yield f"| minibatch | step size | warm-up | initial sd | {f' | {tested} | '.join(columns)} | {tested} |"
    yield f"|{10 * '--:|'}"
    lines: dict[Reading, list[str]] = {}
    for method, n_latent in TRIED:
        theirs = shown(paper, n_latent, method)
        tried = table[(table["method"] == method) & (table["n_latent"] == n_latent)].rename(
            columns={"bound": "nats"}
        )
        found = {Reading(*reading): rows for reading, rows in tried.groupby(list(Reading._fields))}
        seed0 = shown(ours, n_latent, method).query("seed == 0")
        for reading in (OURS, *OTHERS):
            less = behind(seed0 if reading == OURS else found[reading], theirs)
            lines.setdefault(reading, []).extend(f"{value:+.0f}" for value in less)
    for reading, cells in lines.items():
        yield f"| {' | '.join([*(f'{value:g}' for value in reading), *cells])} |"


def behind(rows: pd.DataFrame, theirs: pd.DataFrame) -> list[float]:
    """What a run has less the paper at its first train point and its first two test points."""
    return seeds.behind(rows, theirs, by_split(theirs)[1].nsmallest(2, "samples")["samples"].tolist())


def page(table: pd.DataFrame) -> str:
    """Both tables as docs/deviations.md shows them."""
    both = figure2.ours_and_papers()
    return "\n".join([*first_lines(*both), "", *reading_lines(table, *both)])


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        reading, estimator, n_latent = json.loads(sys.argv[2])
        rows = trained(Reading(*reading), estimator, n_latent, SAMPLES, *map(Path, sys.argv[3:]))
        print(json.dumps(rows))
    elif sys.argv[1] == "--page":
        pages.show("start", page, *sys.argv[2:])
    else:
        main(*sys.argv[1:])
