"""The table of representations: what each cell's is worth, over its seeds and beside its yardsticks."""

import pandas as pd

from aevb.experiments import Cell
from aevb.intervals import of_mean

MEASURES = [
    "reconstruction_error",
    "reconstruction_nats",
    "denoising_error",
    "latent_accuracy",
    "active_units",
]
OVER_POINTS = MEASURES[:-1]  # means over test points, with a standard error
HELD_AGAINST = {  # the yardstick of a measure
    "reconstruction_error": "mean_image_error",
    "denoising_error": "corruption_error",
    "latent_accuracy": "pixel_accuracy",
}
RUNS = [  # columns of the runs of a cell
    *[*Cell.IDENTITY, "seed", "samples", "n_points", *MEASURES],
    *(f"{name}_std_error" for name in OVER_POINTS),
]
YARDSTICK = ["dataset", "n_train"]  # what identifies one
YARDSTICKS = [
    *[*YARDSTICK, *HELD_AGAINST.values()],
    *(f"{name}_std_error" for name in HELD_AGAINST.values()),
]


def table(runs: pd.DataFrame, yardsticks: pd.DataFrame) -> pd.DataFrame:
    """What each cell's representation is worth, from its runs (columns RUNS) and its yardsticks (YARDSTICKS).

    Every measure is a mean over seeds with its 95 % t-interval `_ci_low, _ci_high`, NaN for a single seed; a diverged
    seed makes it NaN. `_std_error` is over test points: the mean of the seeds', since all see the same points and
    more seeds do not make it smaller. A yardstick stands beside the measure that is held against it.
    """
    rows = []
    for identity, cell in runs.groupby(list(Cell.IDENTITY), sort=False):
        row = dict(zip(Cell.IDENTITY, identity, strict=True))
        row |= {"samples": cell["samples"].max(), "n_seeds": len(cell), "n_points": cell["n_points"].max()}
        beside = yardsticks[(yardsticks[YARDSTICK] == [row[name] for name in YARDSTICK]).all(axis="columns")]
        row |= {name: beside[name].item() for name in YARDSTICKS}
        for name in MEASURES:
            row |= _over_seeds(name, cell[name])
        for name in OVER_POINTS:
            row[f"{name}_std_error"] = cell[f"{name}_std_error"].to_numpy(float).mean()
        rows.append(row)
    return pd.DataFrame(rows, columns=_columns())


def _over_seeds(name: str, values: pd.Series) -> dict[str, float]:
    mean, low, high = of_mean(values)
    return {name: mean, f"{name}_ci_low": low, f"{name}_ci_high": high}


def _columns() -> list[str]:
    columns = [*Cell.IDENTITY, "samples", "n_seeds", "n_points"]
    for name in MEASURES:
        columns += [name, f"{name}_ci_low", f"{name}_ci_high"]
        columns += [f"{name}_std_error"] if name in OVER_POINTS else []
        columns += [HELD_AGAINST[name], f"{HELD_AGAINST[name]}_std_error"] if name in HELD_AGAINST else []
    return columns
