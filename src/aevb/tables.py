"""The tables of results: ours beside the paper's, step sizes, costs; and their HTML."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import great_tables
import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from aevb.curves import CURVE, figure2_curves, figure3_curves, interpolate, over_seeds
from aevb.experiments import CERTIFIED, Cell, path_of
from aevb.intervals import of_mean
from aevb.references import BOUND, LIKELIHOOD

COMPARISON = ["figure", *CURVE, "samples", "paper", "ours", "ci_low", "ci_high", "difference"]
COSTS = [
    *["dataset", "estimator", "n_hidden", "n_latent", "n_train", "seed", "samples", "seconds"],
    *["samples_per_second", "joules", "device", "threads", "diverged"],
]
SIDE_BY_SIDE = {  # columns of bound_and_likelihood.csv: which estimator's, and which of its values
    "bound": ("elbo", "lower_bound"),
    "importance": ("importance", "lower_bound"),
    "annealed": ("annealed", "lower_bound"),
    "appendix_d": (CERTIFIED, "log_likelihood"),
}
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
REPRESENTED = [  # columns of the runs of a cell
    *[*Cell.IDENTITY, "seed", "samples", "n_points", *MEASURES],
    *(f"{name}_std_error" for name in OVER_POINTS),
]
YARDSTICK = ["dataset", "n_train"]  # what identifies one
YARDSTICKS = [
    *[*YARDSTICK, *HELD_AGAINST.values()],
    *(f"{name}_std_error" for name in HELD_AGAINST.values()),
]
SENTENCE = 18  # characters from which a column of words is shown wide enough to be read
COUNTS = {"samples", "n_hidden", "n_latent", "n_train", "n_points"}  # shown with thousands separators
THREE_DIGITS, FIVE_DIGITS, FOUR_DECIMALS = {"n_sigfig": 3}, {"n_sigfig": 5}, {"decimals": 4}
# of a table's columns, by its name, where `_with_digits` would not do
FORMATS: dict[str, dict[str, dict[str, Any]]] = {
    "gradient_variance": dict.fromkeys(  # they span many powers of ten
        [
            *("squared_norm", "variance", "relative_variance", "snr", "snr_low", "snr_high", "data_variance"),
            *("squared_norm_error", "variance_error", "relative_variance_error", "data_variance_error"),
        ],
        THREE_DIGITS,
    ),
    "comparison": {
        **dict.fromkeys(["value", "baseline_value"], FIVE_DIGITS),  # nats in one row, samples in another
        **dict.fromkeys(["p_value", "p_adjusted"], THREE_DIGITS),
    },
    "regression": dict.fromkeys(["p_drop", "p_rise"], THREE_DIGITS),
    "claims": dict.fromkeys(["p_broken"], THREE_DIGITS),
    "certification": dict.fromkeys(  # in nats, and some are far below one
        ["bias", "ci_low", "ci_high", "std_error", "rms_error", "claimed_error"], FOUR_DECIMALS
    ),
}


def paper_comparison(bounds: pd.DataFrame, marginal: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's curves of Figures 2 and 3, one row per report point of ours: COMPARISON and `n_seeds`.

    Only points inside the sample range of the paper's curve have a row: its nats are interpolated linearly in log
    samples and never extrapolated. `ours` is the mean over the `n_seeds` that got so far and `ci_low, ci_high` its
    95 % t-interval; of a single seed, +-1.96 standard errors over data points for Figure 3 and empty for Figure 2.
    `difference` is ours - paper in nats per data point. A point at which a seed has diverged keeps its row, with
    `ours` NaN.
    """
    rows = []
    for figure, ours in [(2, over_seeds(figure2_curves(bounds))), (3, over_seeds(figure3_curves(marginal)))]:
        for (*identity,), curve in paper[paper["figure"] == figure].groupby(CURVE):
            mine = ours[(ours[CURVE] == identity).all(axis="columns")]
            mine = mine[mine["samples"].between(curve["samples"].min(), curve["samples"].max())]
            theirs = interpolate(curve, mine["samples"].to_numpy())
            rows.append(mine.assign(figure=figure, paper=theirs, difference=mine["nats"] - theirs))
    table = pd.concat(rows).rename(columns={"nats": "ours", "low": "ci_low", "high": "ci_high"})
    return table[[*COMPARISON, "n_seeds"]].reset_index(drop=True)


def beside_paper(
    rows: pd.DataFrame, paper: pd.DataFrame, figure2: Sequence[Cell], figure3: Sequence[Cell]
) -> pd.DataFrame:
    """The rows with the paper's value at their report point, and ours above it: for information, and on the test set
    alone, since the paper's training curves are running means. Empty outside the paper's curves."""
    shown = {BOUND: (2, {cell.path for cell in figure2}), LIKELIHOOD: (3, {cell.path for cell in figure3})}

    def value(row: pd.Series) -> float:
        figure, paths = shown.get(row["metric"], (0, set()))
        if row["split"] != "test" or path_of(row) not in paths:
            return math.nan
        named = {"figure": figure, "method": row["estimator"]} | {
            name: row[name] for name in ("dataset", "n_latent", "n_train", "split")
        }
        curve = paper[(paper[list(named)] == pd.Series(named)).all(axis="columns")]
        inside = curve["samples"].min() <= row["samples"] <= curve["samples"].max()
        return float(interpolate(curve, row["samples"])) if inside else math.nan

    beside = rows.assign(paper=[value(row) for _, row in rows.iterrows()])
    return beside.assign(above_paper=beside["value"] - beside["paper"])


def bound_and_likelihood(marginal: pd.DataFrame) -> pd.DataFrame:
    """Bound and log p(x) side by side on the same points, one row per run and split at the end of its training.

    bound is the ELBO; importance and annealed are lower bounds in expectation, appendix_d (N_z < 5) the certified
    value. log_likelihood is the certified value where there is one and the highest lower bound otherwise, as
    log_likelihood_from says; gap is log_likelihood - bound, what the encoder costs, and gap_error its Monte Carlo
    standard error.
    """
    keys = [*Cell.IDENTITY, "seed", "split"]
    last = marginal[marginal["samples"] == marginal.groupby(keys)["samples"].transform("max")]
    rows = []
    for identity, run in last.groupby(keys, sort=False):
        by_estimator = {str(row["evidence_estimator"]): row for _, row in run.iterrows()}
        value = {name: _value_of(by_estimator, *SIDE_BY_SIDE[name]) for name in SIDE_BY_SIDE}
        lower = max(("importance", "annealed"), key=lambda name: np.nan_to_num(value[name], nan=-np.inf))
        source = "appendix_d" if np.isfinite(value["appendix_d"]) else lower
        errors = [_value_of(by_estimator, SIDE_BY_SIDE[name][0], "std_error") for name in ("bound", source)]
        rows.append(
            dict(zip(keys, identity, strict=True))
            | {"samples": run["samples"].iloc[0], "n_points": run["n_points"].iloc[0]}
            | value
            | {"log_likelihood": value[source], "log_likelihood_from": source}
            | {"gap": value[source] - value["bound"], "gap_error": math.hypot(*errors)}
        )
    return pd.DataFrame(rows)


def _value_of(rows: dict[str, pd.Series], estimator: str, column: str) -> float:
    return float(rows[estimator][column]) if estimator in rows else math.nan


def representation(runs: pd.DataFrame, yardsticks: pd.DataFrame) -> pd.DataFrame:
    """What each cell's representation is worth, from its runs (columns REPRESENTED) and its yardsticks (YARDSTICKS).

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
    return pd.DataFrame(rows, columns=_representation_columns())


def _over_seeds(name: str, values: pd.Series) -> dict[str, float]:
    mean, low, high = of_mean(values)
    return {name: mean, f"{name}_ci_low": low, f"{name}_ci_high": high}


def _representation_columns() -> list[str]:
    columns = [*Cell.IDENTITY, "samples", "n_seeds", "n_points"]
    for name in MEASURES:
        columns += [name, f"{name}_ci_low", f"{name}_ci_high"]
        columns += [f"{name}_std_error"] if name in OVER_POINTS else []
        columns += [HELD_AGAINST[name], f"{HELD_AGAINST[name]}_std_error"] if name in HELD_AGAINST else []
    return columns


def costs(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What every run cost: one row per cell.json, columns COSTS.

    `seconds` of training on `device`, of runs that trained side by side each its share, so that they add up; `joules`
    likewise, and none where the device has no meter to read. The curve's `seconds` are those of the clock.
    """
    return pd.DataFrame([{name: cell[name] for name in COSTS} for cell in cells], columns=COSTS)


def provenance(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What the runs depended on: item, value, and how many runs have that value."""
    items: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        items[f"data: {cell['dataset']}", cell["data"]] += 1
        items[f"numerics: {cell['estimator']}", cell["numerics"]] += 1
        items["device", cell["device"]] += 1
        for name, version in cell["versions"].items():
            items[name, version] += 1
    rows = [{"item": item, "value": value, "runs": n} for (item, value), n in sorted(items.items())]
    return pd.DataFrame(rows, columns=["item", "value", "runs"])


def to_html(frame: pd.DataFrame, named: str) -> str:
    """results/tables/{named}.csv as a self-contained HTML page; NaN is shown as a dash."""
    table = great_tables.GT(frame, id="table").tab_header(named.replace("_", " ").capitalize())
    table = table.tab_source_note(f"Source: results/tables/{named}.csv")
    formats = FORMATS.get(named, {})
    for name in frame.columns:
        if name in COUNTS:
            table = table.fmt_integer(name)
        elif name in formats:
            table = table.fmt_number(name, **formats[name])
        elif is_float_dtype(frame[name]):
            table = _with_digits(table, name, frame[name].abs().max())
    for name in frame.select_dtypes(["object", "str"]).columns:
        longest = int(frame[name].dropna().astype(str).str.len().max()) if frame[name].notna().any() else 0
        if longest > SENTENCE:
            wide = great_tables.style.css(f"min-width: {min(24, longest // 2 + 2)}em; text-align: left")
            table = table.tab_style(wide, great_tables.loc.body(columns=[name]))
    return table.sub_missing(missing_text="–").as_raw_html(make_page=True)


def _with_digits(table: great_tables.GT, name: str, largest: float) -> great_tables.GT:
    """Two decimals for nats and seconds, three digits for a column of small numbers, none for a large one."""
    if largest < 1:
        return table.fmt_number(name, n_sigfig=3)
    return table.fmt_number(name, decimals=0 if largest >= 1e4 else 2)
