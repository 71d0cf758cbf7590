"""Estimators of log p(x) held against what is known to be right, and what can be said of each.

A verdict is an equivalence test: an estimator is `accurate` when the 95 % interval of its mean error lies within
+-MARGIN nats. One that is not is either off on the side that it documents, or wrong, or not yet known. `wrong` is a
verdict among all rows of a table: `among_all` takes it back where chance alone would say it of some row.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from aevb import UserError
from aevb.evidence import Evidence
from aevb.intervals import half_width

MARGIN = 0.02  # nats per data point
CLOSED = 0.1  # nats: the gap below which bidirectional Monte Carlo counts as closed
LEVEL = 0.05  # at most the chance that any row of a table is called wrong where none is
WRONG, UNDECIDED = "wrong", "undecided: more points are needed"

COLUMNS = [
    *[
        "problem",
        "reference",
        "evidence_estimator",
        "direction",
        "dataset",
        "estimator",
        "n_hidden",
        "n_latent",
    ],
    *["n_train", "samples", "n_points", "n_refused", "bias", "ci_low", "ci_high", "std_error", "rms_error"],
    *["claimed_error", "share_on_side", "share_within_errors", "k_hat", "r_hat", "acceptance"],
    *["seconds_per_point", "verdict"],
]

ROOTS_OF_MEANS = ["rms_error", "claimed_error"]
MEANS = ["share_on_side", "share_within_errors", "acceptance", "seconds_per_point"]


def against(estimate: Evidence, truth: Tensor, direction: str) -> dict[str, Any]:
    """One model's estimates (1, B) against the exact log p(x) (B,): columns of certification.csv.

    bias is the mean error over all points, refused ones included, in nats, ci_low and ci_high its 95 % t-interval and
    std_error its standard error over points; rms_error the error of one point, claimed_error what the estimator says
    it is. share_on_side: points whose estimate lies on the documented side; share_within_errors: the same, where two
    standard errors are forgiven.
    """
    error = (estimate.estimate[0].cpu() - truth.cpu()).double()
    claimed = estimate.std_error[0].cpu().double()
    n_refused = int(estimate.refused[0].sum())
    row = _mean(error) | {
        "n_refused": n_refused,
        "rms_error": error.square().mean().sqrt().item(),
        "claimed_error": claimed.square().mean().sqrt().item(),
        "k_hat": estimate.k_hat[0].max().item(),
        "r_hat": estimate.r_hat[0].max().item(),
        "acceptance": estimate.acceptance[0].mean().item(),
    }
    if direction in ("lower", "upper"):
        row |= _on_side(error if direction == "lower" else -error, claimed)
    return row | {"direction": direction, "verdict": _verdict(row, direction)}


def between(low: Evidence, high: Evidence) -> dict[str, Any]:
    """Two estimates (1, B) that enclose log p(x) in expectation: bias is the mean of low - high, minus the gap."""
    error = (low.estimate[0] - high.estimate[0]).cpu().double()
    claimed = (low.std_error[0].square() + high.std_error[0].square()).sqrt().cpu().double()
    n_refused = int((low.refused | high.refused)[0].sum())
    row = _mean(error) | _on_side(error, claimed) | {"n_refused": n_refused, "direction": "lower"}
    if not math.isfinite(row["bias"]):
        return row | {"verdict": "no value"}
    if row["ci_low"] > 0:
        return row | {"verdict": f"{WRONG}: the bounds cross"}
    closed = row["ci_low"] > -CLOSED
    return row | {"verdict": f"closed to {CLOSED:g} nats" if closed else f"open by {-row['bias']:.2g} nats"}


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per estimator and direction: the mean error over the points of all `rows`, counted as independent.

    Decoders of one data set share their test points and draws. Between three of MNIST the errors of importance
    sampling correlated by 0.2 to 0.5 on 40 points, which would widen its interval by some 5 %; those of annealing
    by -0.1 to 0.2.
    """
    pools = []
    for (name, direction), group in rows.groupby(["evidence_estimator", "direction"], sort=False):
        n = group["n_points"]
        bias = (n * group["bias"]).sum(skipna=False) / n.sum()
        standard_error = (n * group["std_error"]).pow(2).sum(skipna=False) ** 0.5 / n.sum()
        row = {"evidence_estimator": name, "direction": direction, "bias": bias, "std_error": standard_error}
        row |= {"ci_low": bias - 1.96 * standard_error, "ci_high": bias + 1.96 * standard_error}
        row |= {"n_points": int(n.sum()), "n_refused": int(group["n_refused"].sum())}
        row |= {name: (n * group[name].pow(2)).sum() ** 0.5 / n.sum() ** 0.5 for name in ROOTS_OF_MEANS}
        row |= {name: (n * group[name]).sum(skipna=False) / n.sum() for name in MEANS}
        row |= {name: group[name].max() for name in ("k_hat", "r_hat")}
        pools.append(row | {"verdict": _verdict(row, str(direction))})
    return pd.DataFrame(pools)


def among_all(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `wrong` where a t-test of the mean error says so among all its rows (Bonferroni), and
    `undecided` where it says so of that row alone, as chance does of one right estimator in forty (one in twenty
    where either side counts)."""
    t = (table["bias"] / table["std_error"]).abs()
    p_value = 2 * stats.t.sf(t, table["n_points"] - 1)
    by_chance = table["verdict"].str.startswith(WRONG) & ~(p_value * len(table) < LEVEL)
    said = table["verdict"].where(~by_chance, table["verdict"].str.replace("^[^;]*", UNDECIDED, regex=True))
    return table.assign(verdict=said)


def require(table: pd.DataFrame) -> None:
    """Raises UserError that names the rows of certification.csv whose estimator is wrong."""
    wrong = table[table["verdict"].str.startswith(WRONG)]
    if len(wrong):
        named = ["evidence_estimator", "problem", "reference", "dataset", "estimator", "n_latent", "n_train"]
        lines = [
            f"  {', '.join(str(value) for value in row[named].dropna())}: {row['bias']:+.3f} nats "
            f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
            for _, row in wrong.iterrows()
        ]
        raise UserError(
            "Estimators of log p(x) are off on the side that they rule out:\n"
            + "\n".join(lines)
            + "\nDo not trust their values in marginal_likelihood.csv."
        )


def _mean(error: Tensor) -> dict[str, Any]:
    n, spread, bias = len(error), error.std().item(), error.mean().item()
    half = half_width(spread, n).item()
    return {
        "n_points": n,
        "bias": bias,
        "ci_low": bias - half,
        "ci_high": bias + half,
        "std_error": spread / math.sqrt(n),
    }


def _on_side(error: Tensor, claimed: Tensor) -> dict[str, Any]:
    """Shares of the points at which an error that should be negative is."""
    return {
        "share_on_side": (error <= 0).double().mean().item(),
        "share_within_errors": (error <= 2 * claimed).double().mean().item(),
    }


def _verdict(row: dict[str, Any], direction: str) -> str:
    low, high = row["ci_low"], row["ci_high"]
    if not np.isfinite(row["bias"]):
        return "no value"
    if max(abs(low), abs(high)) <= MARGIN:
        said = "accurate"
    elif direction == "lower" and high < 0:
        said = "too low, as documented"
    elif direction == "upper" and low > 0:
        said = "too high, as documented"
    elif low > 0 or high < 0:
        said = WRONG
    else:
        said = UNDECIDED
    refused = f"; {row['n_refused']} of {row['n_points']} points refused" if row["n_refused"] else ""
    return said + refused


def simulate(
    model: Any, theta: dict[str, Tensor], n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """n draws (z, x) of p(z) p(x | z) of one model: z (1, n, N_z) is an exact posterior draw for x (1, n, D)."""
    z = torch.randn(1, 1, n, model.n_latent, generator=generator, device=generator.device)
    p = model.decode(theta, z)
    # not model.generate, which clips pixels
    noise = model.likelihood.draw_noise(generator, (1, 1, n, model.n_features))
    return z.squeeze(1), p.sample(noise).squeeze(1)
