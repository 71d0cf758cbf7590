"""Which runs a reader may not trust: those that diverged, and those that feed on an unbounded likelihood."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aevb import UserError
from aevb.experiments import Cell, path_of

DIVERGED = ["diverged", "diverged_at", "diverged_step", "diverged_tensor"]
REMEDY = (
    "In config.yaml take their step size (it is in their cell.json) and all larger ones out of step_size.candidates, "
    "which are those of all cells, or give the search more of estimators.NAME.search_samples, so that it sees them "
    "diverge"
)
COLUMNS = [*Cell.IDENTITY, "seed", "samples", *DIVERGED, "on_floor"]


def table(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each cell.json, columns COLUMNS."""
    frame = pd.DataFrame([{name: cell[name] for name in COLUMNS} for cell in cells], columns=COLUMNS)
    return frame.astype({"diverged_at": "Int64", "diverged_step": "Int64"})


def require(frame: pd.DataFrame) -> None:
    """Raises UserError that names the runs that diverged, where and by what."""
    lost = frame[frame["diverged"]]
    if len(lost):
        lines = [
            f"  {path_of(row)} seed {row['seed']}: at step {row['diverged_step']}, {row['diverged_tensor']}"
            for _, row in lost.iterrows()
        ]
        raise UserError(
            f"{len(lost)} of {len(frame)} runs diverged:\n"
            + "\n".join(lines)
            + f"\nFigures and tables are made, and show them as missing. {REMEDY}, or mend their estimator."
        )
