"""Jobs that compare learning algorithms. Files in, files out."""

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aevb import appendix_f, comparison, conformance, drawing, estimators, processor
from aevb.experiments import CERTIFIED, Cell
from aevb.files import read_tables, write_table, write_text
from aevb.jobs.collect import RUN, last_points, read_runs

CURVE_COLUMNS = [*RUN, "samples", "seconds", "bound"]


def conform(cell: Cell, output: Path) -> None:
    """Hold the cell's estimator to the rules of the house; the rules that it keeps, a line each."""
    processor.prepare(1)
    build = estimators.load(cell.estimator, cell.source)
    write_text(output, "\n".join(conformance.check(partial(build, **cell.settings))) + "\n")


def compare(runs: list[Path], evidence: list[Path], baseline: str, curves: Path, output: Path) -> None:
    """comparison.csv and the test bounds it is made of; runs: cell.json of every seed, evidence: a table a cell."""
    known = read_tables(evidence)
    likelihoods, elbos = (
        _at_the_end(known, CERTIFIED, "log_likelihood"),
        _at_the_end(known, "elbo", "lower_bound"),
    )
    cells, frames = read_runs(runs)
    tested = [frame[frame["split"] == "test"] for frame in frames]
    compared: dict[tuple[Any, ...], list[comparison.Run]] = defaultdict(list)
    for cell, curve in zip(cells, tested, strict=True):
        run = comparison.Run(
            samples=curve["samples"].to_numpy(dtype=np.float64),
            bound=curve["bound"].to_numpy(dtype=np.float64),
            seconds=curve["seconds"].to_numpy(dtype=np.float64),
            log_likelihood=likelihoods.get(tuple(cell[name] for name in RUN), np.nan),
            elbo=elbos.get(tuple(cell[name] for name in RUN), np.nan),
            step_size=cell["step_size"],
            diverged=cell["diverged"],
        )
        compared[*(cell[name] for name in comparison.CELL), cell["estimator"]].append(run)
    write_table(curves, pd.concat(tested, ignore_index=True).reindex(columns=CURVE_COLUMNS))
    table = comparison.compare(dict(compared), baseline)
    write_table(output, table)
    for _, row in table[table["unit"] == "nats"].iterrows():
        print(comparison.in_words(row))
    print(f"All of it: {output}")


def _at_the_end(frame: pd.DataFrame, estimator: str, column: str) -> dict[Any, float]:
    """What an estimator of log p(x) says of the test points, by (cell, seed)."""
    rows = frame[(frame["split"] == "test") & (frame["evidence_estimator"] == estimator)]
    return rows.set_index(RUN)[column].to_dict()


def full_vb(runs: list[Path], evidence: list[Path], output: Path, figure: Path) -> None:
    """full_vb.csv and its figure; runs: cell.json of every seed, evidence: a table a cell."""
    bounds = pd.concat(read_runs(runs)[1], ignore_index=True)
    # a cell that a figure needs too may have been trained further
    common = bounds.groupby(comparison.CELL)["samples"].transform(
        lambda samples: samples.groupby(bounds["estimator"]).max().min()
    )
    bounds = bounds[bounds["samples"] <= common]
    write_table(output, appendix_f.table(last_points(bounds), read_tables(evidence)))
    drawing.save(appendix_f.figure(bounds), figure)
