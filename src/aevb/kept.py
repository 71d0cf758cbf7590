"""Runs that are kept in results/reference/kept/: their curves, and what each depended on.

A machine that trains may be at hand for an evening only. What it brings back adds to three tables, so that several
sittings, seeds and machines make one figure:

    runs.csv         a line for each run, its birth certificate: protocol, length, cost, device, versions, digests
    bounds.csv       its bounds along training, as in bounds.csv of a work folder
    likelihoods.csv  of Figure 3's cells log p(x) along training, as in marginal_likelihood.csv of a work folder

A run is named by its cell and seed, and there is one of each name: the longest. The seeds of a cell have one
protocol. Values are nats per data point.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from aevb import UserError
from aevb.experiments import AS_PUBLISHED, CERTIFIED, Cell
from aevb.files import write_table

RUN = [*Cell.IDENTITY, "seed"]  # the columns that name a run
PROTOCOL = [
    *("decoder", "log_var_floor", "train_points"),
    *("step_size", "batch_size", "warm_up", "settings", "data"),
]  # in which the seeds of a cell are alike
CERTIFICATE = [
    *(*RUN, *PROTOCOL, "samples", "seconds", "joules", "diverged", "device", "threads"),
    *("machine", "python", "torch", "numpy", "numerics", "date"),
]
CURVE = [
    *Cell.IDENTITY,
    "split",
    "shown",
]  # what names a curve; shown: the bound, or an estimator of log p(x)
BOUNDS = [*RUN, "split", "samples", "bound"]
ESTIMATE = [*RUN, "split", "samples", "evidence_estimator"]  # the columns that name an estimate of log p(x)
LIKELIHOODS = [*ESTIMATE, "log_likelihood", "std_error", "std_error_points", "n_points", "n_integrated"]
DIGITS = {
    name: 3 for name in ("bound", "log_likelihood", "std_error", "std_error_points", "seconds", "joules")
}


class Kept(NamedTuple):
    """Tables with the columns BOUNDS, LIKELIHOODS and CERTIFICATE."""

    bounds: pd.DataFrame
    likelihoods: pd.DataFrame
    runs: pd.DataFrame  # the last to be written: a run that has its line is whole


NOTHING = Kept(*(pd.DataFrame(columns=columns) for columns in (BOUNDS, LIKELIHOODS, CERTIFICATE)))


def read(folder: Path) -> Kept:
    """What the folder holds; nothing where there is none.

    Raises UserError when a table is missing beside others or lacks a column, when a run is there twice, and when one
    goes on beyond its end.
    """
    if not folder.exists():
        return NOTHING
    tables = []
    for name, nothing in NOTHING._asdict().items():
        try:
            tables.append(pd.read_csv(folder / f"{name}.csv")[nothing.columns.tolist()])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{folder / f'{name}.csv'}: {error}. Take the committed one again.") from None
    kept = Kept(*tables)
    if kept.runs.duplicated(RUN).any():
        twice = _name(kept.runs[kept.runs.duplicated(RUN)])
        raise UserError(f"{folder / 'runs.csv'} has the run {twice} twice. Take the committed one again.")
    # of a run without its line, as after a kill, nothing counts
    whole = kept.runs[RUN]
    kept = Kept(kept.bounds.merge(whole, on=RUN), kept.likelihoods.merge(whole, on=RUN), kept.runs)
    _require_ends(kept, folder)
    return kept


def _require_ends(kept: Kept, folder: Path) -> None:
    """No curve goes on beyond the end that its run's line gives."""
    ends = kept.runs[[*RUN, "samples"]].rename(columns={"samples": "end"})
    for table in (kept.bounds, kept.likelihoods):
        rows = table.merge(ends, on=RUN)
        beyond = rows[rows["samples"] > rows["end"]]
        if len(beyond):
            raise UserError(
                f"{folder}: the run {_name(beyond)} has values at {beyond['samples'].max()} samples, and its line in "
                f"runs.csv ends at {beyond['end'].iloc[0]}: a longer run was taking its place when that was stopped. "
                "Take the committed tables again, and give the longer run once more."
            )


def write(folder: Path, kept: Kept) -> None:
    for name, table in kept._asdict().items():
        write_table(folder / f"{name}.csv", table.round(DIGITS))


def collect(cells: Sequence[Mapping[str, Any]], curves: pd.DataFrame, marginal: pd.DataFrame) -> Kept:
    """The runs of a work folder: each cell.json, the curves of all with the columns RUN, and tables of log p(x), of
    which the estimators that Figure 3 draws are kept.

    Raises UserError when a run is given twice.
    """
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        {**cell["cell"], **cell["versions"], **cell, "date": date}
        | {"settings": json.dumps(cell["cell"]["settings"], sort_keys=True)}
        for cell in cells
    ]
    runs = pd.DataFrame(lines, columns=CERTIFICATE).astype({"log_var_floor": float})
    if runs.duplicated(RUN).any():
        raise UserError(f"The run {_name(runs[runs.duplicated(RUN)])} is given twice: give the one to keep.")
    drawn = marginal[marginal["evidence_estimator"].isin([CERTIFIED, AS_PUBLISHED])]
    drawn = drawn.reindex(columns=LIKELIHOODS).drop_duplicates(ESTIMATE).merge(runs[RUN], on=RUN)
    return Kept(curves[BOUNDS].astype({"samples": int, "bound": float}), drawn, runs)


def taken(old: Kept, new: Kept) -> Kept:
    """Those of the new runs that are to be kept: without the shorter ones of a name, and without one as long as the
    old one that has no more of log p(x), or as much of it and no more points of its curve.

    Raises UserError where a diverged run stands against a sound one, or one protocol against another.
    """
    both = old.runs.merge(new.runs, on=RUN, suffixes=("_old", "_new"))
    _require_agreement(both, "diverged", "kept and given, one has diverged and one has not")
    for name in PROTOCOL:
        two = f"the kept one has {name} {{}} and the given one {{}}: these are two methods"
        _require_agreement(both, name, two)
    extents = zip(_extents(old, both), _extents(new, both), strict=True)
    stays = [kept >= given for kept, given in extents]
    return Kept(*(_without(table, both.loc[stays]) for table in new))


def merged(old: Kept, new: Kept) -> Kept:
    """Both, where a new run takes the place of an old one of its name, whole.

    Raises UserError where a value of log p(x) would be lost or be of fewer points, and where seeds of one cell would
    differ in their protocol.
    """
    _require_evidence(old.likelihoods.merge(new.runs[RUN], on=RUN), new.likelihoods)
    rest = (_without(table, new.runs) for table in old)
    result = Kept(*(_together(a, b) for a, b in zip(rest, new, strict=True)))
    _require_one_protocol(result.runs)
    _require_the_same_points(result.likelihoods)
    return result


def no_longer_shown(old: Kept, new: Kept) -> pd.DataFrame:
    """The points of curves that all seeds of `old` report and not all of `new`, whose mean is shown no more: columns
    CURVE and `samples`."""
    lost = [
        _reported_by_all(before).merge(_reported_by_all(after), how="left", indicator=True)
        for before, after in zip(_curves(old), _curves(new), strict=True)
    ]
    rows = pd.concat(lost, ignore_index=True)
    return rows.loc[rows["_merge"] == "left_only", [*CURVE, "samples"]]


def _curves(kept: Kept) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bounds and log p(x) with the columns CURVE, `seed` and `samples`."""
    likelihoods = kept.likelihoods.rename(columns={"evidence_estimator": "shown"})
    return kept.bounds.assign(shown="bound"), likelihoods


def _reported_by_all(rows: pd.DataFrame) -> pd.DataFrame:
    """The points, CURVE and `samples`, that every seed that got so far has reported."""
    ends = rows.groupby([*CURVE, "seed"], as_index=False).agg(end=("samples", "max"))
    points = rows.groupby([*CURVE, "samples"], as_index=False).agg(reported=("seed", "nunique"))
    passed = points[[*CURVE, "samples"]].merge(ends, on=CURVE)
    passed = passed[passed["end"] >= passed["samples"]]
    points = points.merge(passed.groupby([*CURVE, "samples"], as_index=False).agg(passed=("seed", "size")))
    return points.loc[points["reported"] == points["passed"], [*CURVE, "samples"]]


def _require_agreement(both: pd.DataFrame, name: str, says: str) -> None:
    """Kept and given runs of one name do not differ in this column; `says` may hold places for both values."""
    known, given = both[f"{name}_old"], both[f"{name}_new"]
    other = both[
        (known != given) & ~(known.isna() & given.isna())
    ]  # no decoder but a Gaussian one has a floor
    if len(other):
        values = other.iloc[0][[f"{name}_old", f"{name}_new"]]
        raise UserError(
            f"Of the run {_name(other)}, {says.format(*values)}. If the given one is to stand, take the kept one's "
            "lines out of the tables; otherwise leave the given one out."
        )


def _extents(kept: Kept, runs: pd.DataFrame) -> list[tuple[float, ...]]:
    """Of each of the runs, by which the greater is kept: samples, points with a log p(x), points of its curve."""
    evaluated, curve = kept.likelihoods.groupby(RUN)["n_points"].sum(), kept.bounds.groupby(RUN).size()
    lengths = kept.runs.set_index(RUN)["samples"]
    names = map(tuple, runs[RUN].to_numpy())
    return [(lengths[run], evaluated.get(run, 0), curve.get(run, 0)) for run in names]


def _require_evidence(old: pd.DataFrame, new: pd.DataFrame) -> None:
    """Every estimate of the old ones is among the new ones, of as many points, at the same samples."""
    pairs = old.merge(new, on=ESTIMATE, how="left", suffixes=("", "_new"))
    lost = pairs[~(pairs["n_points_new"] >= pairs["n_points"])]
    if len(lost):
        at = lost.iloc[0]
        same = [name for name in ESTIMATE if name != "samples"]
        given = new.merge(lost.iloc[:1][same], on=same)
        there = ", ".join(map(str, sorted({*given["samples"]})))
        has = f"has it at {there} (of {given['n_points'].max()} points)" if there else "has none"
        raise UserError(
            f"The kept run {_name(lost)} has log p(x) at {at['samples']} samples ({at['split']}, {at['n_points']} "
            f"points), and the one to take its place {has}. Estimate it there too and give that evidence.csv, leave "
            "the run out, or, if the given one is to stand as it is, take the kept one's lines out of the tables."
        )


def _require_one_protocol(runs: pd.DataFrame) -> None:
    for _, seeds in runs.groupby(list(Cell.IDENTITY)):
        mixed = [name for name in PROTOCOL if seeds[name].nunique(dropna=False) > 1]
        if mixed:
            raise UserError(
                f"The seeds {seeds['seed'].tolist()} of the cell of run {_name(seeds)} differ in {', '.join(mixed)}: "
                "their mean would be of no one method. Train the new ones as the kept ones were."
            )


def _require_the_same_points(likelihoods: pd.DataFrame) -> None:
    """The first hundred points are easier than the first thousand, or harder: their mean would be of neither.

    Train and test may differ: a split may have fewer than are asked for.
    """
    for _, seeds in likelihoods.groupby([*Cell.IDENTITY, "split", "evidence_estimator"]):
        if seeds["n_points"].nunique() > 1:
            raise UserError(
                f"log p(x) of the seeds of the cell of run {_name(seeds)} is of "
                f"{' and '.join(map(str, sorted(seeds['n_points'].unique())))} points, and their mean would be of "
                "neither. Give an evidence.csv of as many points as the kept ones are of."
            )


def _name(runs: pd.DataFrame) -> str:
    return "/".join(str(value) for value in runs[RUN].iloc[0])


def _without(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of all runs but these."""
    named = pd.MultiIndex.from_frame(runs[RUN])
    return table[~pd.MultiIndex.from_frame(table[RUN]).isin(named)]


def _together(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    filled = [
        table for table in (a, b) if len(table)
    ]  # one without rows has no types, and would take the other's
    return pd.concat(filled or [a]).sort_values(RUN, kind="stable", ignore_index=True)
