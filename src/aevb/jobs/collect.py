"""Jobs that collect the runs' results into tables, and the tables into pages. Files in, files out."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from aevb import UserError, pages, records
from aevb import bound_and_likelihood as bound_and_likelihood_module
from aevb import paper_comparison as paper_comparison_module
from aevb import soundness as soundness_module
from aevb.curves import select
from aevb.experiments import Cell
from aevb.files import read_tables, write_table, write_text
from aevb.kept import RUN

MARGINAL_COLUMNS = [
    *(*RUN, "split", "samples"),
    *("evidence_estimator", "log_likelihood", "std_error_points"),
]


def run_tables(
    runs: list[Path], bounds: Path, final: Path, costs: Path, provenance: Path, soundness: Path
) -> None:
    """Tables of all runs, given by their cell.json: their curves, the curves' last points, costs, provenance, and
    which of them diverged."""
    cells, curves = read_runs(runs)
    frame = pd.concat(curves, ignore_index=True)
    columns = [*RUN, "split", "samples", "bound", "seconds"]
    write_table(bounds, frame[columns])
    write_table(final, last_points(frame)[columns])
    write_table(costs, records.costs(cells))
    write_table(provenance, records.provenance(cells))
    write_table(soundness, soundness_module.table(cells))


def sound(runs: Path, output: Path) -> None:
    """Say that no run of soundness.csv diverged, or which did.

    Raises UserError when one did.
    """
    frame = pd.read_csv(runs, dtype={"diverged_step": "Int64"})
    soundness_module.require(frame)
    write_text(output, f"None of {len(frame)} runs diverged.\n")


def read_runs(runs: list[Path]) -> tuple[list[dict[str, Any]], list[pd.DataFrame]]:
    """The cell.json of each run, and the curve beside it with the run's columns.

    Raises UserError that names the path of what is no run, and where there is none.
    """
    if not runs:
        raise UserError("None of the chosen data sets has a cell in the figures of config.yaml.")
    cells, curves = zip(*map(_read_run, runs), strict=True)
    return list(cells), list(curves)


def _read_run(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    try:
        cell = json.loads(path.read_text())
        return cell, pd.read_csv(path.with_name("curve.csv")).assign(**{name: cell[name] for name in RUN})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no cell.json of a run with its curve.csv beside it ({type(error).__name__}: {error}). A "
            "run's is at results/runs/DATASET/ESTIMATOR/SIZES/seedN/cell.json."
        ) from None


def last_points(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of every run and split."""
    return curves.groupby([*RUN, "split"], sort=False).tail(1)


def concatenate(inputs: list[Path], output: Path) -> None:
    """One table from several with the same columns."""
    write_table(output, read_tables(inputs))


def paper_comparison(
    bounds: Path, marginal: list[Path], paper: Path, figure2: list[Cell], figure3: list[Cell], output: Path
) -> None:
    """Our curves beside the paper's at our report points; `marginal` is empty without cells of Figure 3."""
    evidence = pd.read_csv(marginal[0]) if marginal else pd.DataFrame(columns=MARGINAL_COLUMNS)
    frame = paper_comparison_module.table(
        select(pd.read_csv(bounds), figure2), select(evidence, figure3), pd.read_csv(paper)
    )
    write_table(output, frame[paper_comparison_module.COMPARISON])


def bound_and_likelihood(marginal: Path, output: Path) -> None:
    """ELBO and log p(x) of every run side by side."""
    write_table(output, bound_and_likelihood_module.table(pd.read_csv(marginal)))


def html(inputs: list[Path], outputs: list[Path]) -> None:
    """The report's pages, one for each table."""
    for table, output in zip(inputs, outputs, strict=True):
        write_text(output, pages.to_html(pd.read_csv(table), table.stem))
