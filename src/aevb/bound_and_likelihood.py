"""How far the bound is from log p(x), run by run."""

import math

import numpy as np
import pandas as pd

from aevb.experiments import CERTIFIED, Cell

SIDE_BY_SIDE = {  # columns of bound_and_likelihood.csv: which estimator's, and which of its values
    "bound": ("elbo", "lower_bound"),
    "importance": ("importance", "lower_bound"),
    "annealed": ("annealed", "lower_bound"),
    "appendix_d": (CERTIFIED, "log_likelihood"),
}
COLUMNS = [
    *("samples", "n_points", *SIDE_BY_SIDE),
    *("log_likelihood", "log_likelihood_from", "gap", "gap_error"),
]


def table(marginal: pd.DataFrame) -> pd.DataFrame:
    """Bound and log p(x) side by side on the same points, one row per run and split at the end of its training.

    bound is the ELBO; importance and annealed are lower bounds in expectation, appendix_d (N_z < 5) the certified
    value. log_likelihood is the certified value where there is one and the highest lower bound otherwise, as
    log_likelihood_from says; gap is log_likelihood - bound, what the encoder costs, and gap_error its Monte Carlo
    standard error, NaN where log_likelihood was refused at a point: of few weights that count it would be too small.
    """
    keys = [*Cell.IDENTITY, "seed", "split"]
    last = marginal[marginal["samples"] == marginal.groupby(keys)["samples"].transform("max")]
    rows = []
    for identity, run in last.groupby(keys, sort=False):
        by_estimator = {str(row["evidence_estimator"]): row for _, row in run.iterrows()}
        value = {name: _value_of(by_estimator, *SIDE_BY_SIDE[name]) for name in SIDE_BY_SIDE}
        lower = max(("importance", "annealed"), key=lambda name: np.nan_to_num(value[name], nan=-np.inf))
        source = "appendix_d" if np.isfinite(value["appendix_d"]) else lower
        used = SIDE_BY_SIDE[source][0]
        refused = _value_of(by_estimator, used, "n_refused")
        errors = [_value_of(by_estimator, name, "std_error") for name in (SIDE_BY_SIDE["bound"][0], used)]
        rows.append(
            dict(zip(keys, identity, strict=True))
            | {"samples": run["samples"].iloc[0], "n_points": run["n_points"].iloc[0]}
            | value
            | {"log_likelihood": value[source], "log_likelihood_from": source}
            | {
                "gap": value[source] - value["bound"],
                "gap_error": math.nan if refused else math.hypot(*errors),
            }
        )
    return pd.DataFrame(rows, columns=[*keys, *COLUMNS])


def _value_of(rows: dict[str, pd.Series], estimator: str, column: str) -> float:
    return float(rows[estimator][column]) if estimator in rows else math.nan
