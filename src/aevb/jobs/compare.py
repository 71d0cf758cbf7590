"""Jobs that compare learning algorithms. Files in, files out."""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aevb import appendix_f, comparison, conformance, drawing, estimators, processor
from aevb.experiments import CERTIFIED, Cell
from aevb.files import write_table, write_text

CURVE_COLUMNS = [*Cell.IDENTITY, "seed", "samples", "seconds", "bound"]


def conform(cell: Cell, output: Path) -> None:
    """Hold the cell's estimator to the rules of the house; the rules that it keeps, a line each."""
    processor.prepare(1)
    build = estimators.load(cell.estimator, cell.source)
    write_text(output, "\n".join(conformance.check(partial(build, **cell.settings))) + "\n")


def compare(runs: list[Path], evidence: list[Path], baseline: str, curves: Path, output: Path) -> None:
    """comparison.csv and the test bounds it is made of; runs: cell.json of every seed, evidence: a table a cell."""
    likelihoods = _likelihoods(pd.concat([pd.read_csv(path) for path in evidence], ignore_index=True))
    compared: dict[tuple[Any, ...], list[comparison.Run]] = defaultdict(list)
    frames = []
    for path in runs:
        cell = json.loads(path.read_text())
        identity = {name: cell[name] for name in (*Cell.IDENTITY, "seed")}
        curve = pd.read_csv(path.with_name("curve.csv")).query("split == 'test'")
        frames.append(curve.assign(**identity))
        key = (*(cell[name] for name in comparison.CELL), cell["estimator"])
        run = comparison.Run(
            samples=curve["samples"].to_numpy(dtype=np.float64),
            bound=curve["bound"].to_numpy(dtype=np.float64),
            seconds=curve["seconds"].to_numpy(dtype=np.float64),
            log_likelihood=likelihoods.get(tuple(identity.values()), np.nan),
            diverged=cell["diverged"],
        )
        compared[key].append(run)
    write_table(curves, pd.concat(frames, ignore_index=True).reindex(columns=CURVE_COLUMNS))
    table = comparison.compare(dict(compared), baseline)
    write_table(output, table)
    for _, row in table[table["unit"] == "nats"].iterrows():
        print(comparison.in_words(row))
    print(f"All of it: {output}")


def _likelihoods(frame: pd.DataFrame) -> dict[Any, float]:
    """Certified log p(x) of the test points by (cell, seed)."""
    rows = frame[(frame["split"] == "test") & (frame["evidence_estimator"] == CERTIFIED)]
    return rows.set_index([*Cell.IDENTITY, "seed"])["log_likelihood"].to_dict()


def full_vb(runs: list[Path], evidence: list[Path], output: Path, figure: Path) -> None:
    """full_vb.csv and its figure; runs: cell.json of every seed, evidence: a table a cell."""
    frames = []
    for path in runs:
        cell = json.loads(path.read_text())
        identity = {name: cell[name] for name in (*Cell.IDENTITY, "seed")}
        frames.append(pd.read_csv(path.with_name("curve.csv")).assign(**identity))
    bounds = pd.concat(frames, ignore_index=True)
    # a cell that a figure needs too may have been trained further
    common = bounds.groupby(comparison.CELL)["samples"].transform(
        lambda samples: samples.groupby(bounds["estimator"]).max().min()
    )
    bounds = bounds[bounds["samples"] <= common]
    last = bounds.groupby([*Cell.IDENTITY, "seed", "split"], sort=False).tail(1)
    marginal = pd.concat([pd.read_csv(path) for path in evidence], ignore_index=True)
    write_table(output, appendix_f.table(last, marginal))
    drawing.save(appendix_f.figure(bounds), figure)
