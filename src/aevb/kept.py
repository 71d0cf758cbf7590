"""Runs that are kept in results/reference/kept/: their curves, and what each depended on.

A machine that trains may be at hand for an evening only. What it brings back adds to three tables, so that several
sittings, seeds and machines make one figure:

    runs.csv         a line for each run, its birth certificate: step size, length, cost, device, versions, digests
    bounds.csv       its bounds along training, as in bounds.csv of a work folder
    likelihoods.csv  of Figure 3's cells log p(x) along training, as in marginal_likelihood.csv of a work folder

A run is named by its cell and seed, and there is one of each name: the longest. Values are nats per data point.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from aevb import UserError
from aevb.experiments import AS_PUBLISHED, CERTIFIED, Cell
from aevb.files import write_table

RUN = [*Cell.IDENTITY, "seed"]  # the columns that name a run
CERTIFICATE = [
    *(*RUN, "step_size", "samples", "seconds", "diverged", "device", "threads"),
    *("machine", "python", "torch", "numpy", "data", "numerics", "date"),
]
BOUNDS = [*RUN, "split", "samples", "bound"]
LIKELIHOODS = [
    *(*RUN, "split", "samples", "evidence_estimator"),
    *("log_likelihood", "std_error", "std_error_points", "n_points", "n_integrated"),
]
DIGITS = {name: 3 for name in ("bound", "log_likelihood", "std_error", "std_error_points", "seconds")}


class Kept(NamedTuple):
    """Tables with the columns CERTIFICATE, BOUNDS and LIKELIHOODS."""

    runs: pd.DataFrame
    bounds: pd.DataFrame
    likelihoods: pd.DataFrame


NOTHING = Kept(*(pd.DataFrame(columns=columns) for columns in (CERTIFICATE, BOUNDS, LIKELIHOODS)))


def read(folder: Path) -> Kept:
    """What the folder holds; nothing where there is none.

    Raises UserError when a table is missing beside others, or lacks a column.
    """
    if not folder.exists():
        return NOTHING
    tables = []
    for name, nothing in NOTHING._asdict().items():
        try:
            tables.append(pd.read_csv(folder / f"{name}.csv")[nothing.columns.tolist()])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{folder / f'{name}.csv'}: {error}. Take the committed one again.") from None
    return Kept(*tables)


def write(folder: Path, kept: Kept) -> None:
    for name, table in kept._asdict().items():
        write_table(folder / f"{name}.csv", table.round(DIGITS))


def collect(cells: Sequence[Mapping[str, Any]], curves: pd.DataFrame, marginal: pd.DataFrame) -> Kept:
    """The runs of a work folder: each cell.json, the curves of all with the columns RUN, and marginal_likelihood.csv,
    of which the estimators that Figure 3 draws are kept."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    runs = pd.DataFrame([{**cell["versions"], **cell, "date": date} for cell in cells], columns=CERTIFICATE)
    drawn = marginal[marginal["evidence_estimator"].isin([CERTIFIED, AS_PUBLISHED])]
    return Kept(runs, curves[BOUNDS], drawn.reindex(columns=LIKELIHOODS).merge(runs[RUN], on=RUN))


def merged(old: Kept, new: Kept) -> Kept:
    """Both, and of two runs of one name the longer, whole; of two as long the new one.

    Raises UserError when a run whose log p(x) is kept would be lost to one that has none.
    """
    both = old.runs.merge(new.runs, on=RUN, suffixes=("_old", "_new"))
    longer = both[both["samples_old"] > both["samples_new"]]
    new = Kept(*(_without(table, longer) for table in new))
    lost = _without(old.likelihoods.merge(new.runs[RUN], on=RUN), new.likelihoods)
    if len(lost):
        name = "/".join(str(value) for value in lost[RUN].iloc[0])
        raise UserError(
            f"The kept run {name} has log p(x), and the one to take its place has none: give its evidence too "
            "(marginal_likelihood.csv), or leave the run out."
        )
    pairs = zip((_without(table, new.runs) for table in old), new, strict=True)
    return Kept(*(_sorted(pd.concat([a, b]) if len(a) and len(b) else b if len(b) else a) for a, b in pairs))


def _without(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of all runs but these."""
    named = pd.MultiIndex.from_frame(runs[RUN])
    return table[~pd.MultiIndex.from_frame(table[RUN]).isin(named)]


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(RUN, kind="stable", ignore_index=True)
