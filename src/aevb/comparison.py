"""Is a learning algorithm better than the baseline? Paired runs, and what may be said of them.

Runs of the same seed have the same initial weights and minibatches, and the same noise where the methods draw noise
of the same shape, so that differences within a seed vary less than runs do. Of the differences: their mean, the
p-value of sign flips (Fisher 1935), that adjusted for the number of tests in the table (Holm 1979), and the 95 %
interval of the centres that sign flips do not reject (Hartigan 1969). Both are exact, up to 16 seeds and whatever the
noise, where differences lie symmetrically about their centre; where a seed in ten collapses they do not.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aevb import sign_flips
from aevb.experiments import Cell
from aevb.sign_flips import Values

LEVEL = 0.05  # chance that a family of tests names any difference that is none
FEWEST = 6  # seeds: of fewer, no pattern of signs has a p-value below LEVEL, even if nothing else is tested

CELL = [name for name in Cell.IDENTITY if name != "estimator"]
COLUMNS = [
    *(*CELL, "samples", "estimator", "step_size", "baseline", "baseline_step_size"),
    *("metric", "unit", "n_seeds"),
    *("value", "baseline_value", "difference", "ci_low", "ci_high", "p_value", "p_adjusted", "verdict"),
]


class Run(NamedTuple):
    """One seed of a method: its bound on the test set along training, and its end."""

    samples: Values
    bound: Values  # empty, as the others are then, for a method without one
    seconds: Values
    log_likelihood: float  # certified, of the first test points; NaN where it was refused
    elbo: float  # of the same points; NaN for a method without an encoder
    step_size: float  # the search's choice, the same for every seed
    diverged: bool


class Metric(NamedTuple):
    """What is compared. `pair` gives the two methods' values of one seed; higher is better where it is tested, lower
    where it is not."""

    unit: str
    tested: bool
    of_bound: bool
    pair: Callable[[Run, Run], tuple[float, float]]


METRICS = {
    "bound": Metric("nats", True, True, lambda run, other: (run.bound[-1], other.bound[-1])),
    "log_likelihood": Metric(
        "nats", True, False, lambda run, other: (run.log_likelihood, other.log_likelihood)
    ),
    "gap": Metric("nats", False, True, lambda run, other: (gap(run), gap(other))),
    "samples": Metric("times", False, True, lambda run, other: _reached(run, other, "samples")),
    "seconds": Metric("times", False, True, lambda run, other: _reached(run, other, "seconds")),
}


def compare(runs: dict[tuple[Any, ...], list[Run]], baseline: str) -> pd.DataFrame:
    """comparison.csv: a row per method other than the baseline, and metric.

    runs: (dataset, n_hidden, n_latent, n_train, estimator) -> its runs, in the order of seeds.
    Differences are method - baseline in nats; those of the gap, log p(x) less the ELBO of the same points, are not
    tested. Of what it takes to reach a given bound, the worse of the pair's two final ones, they are ratios: how many
    times the baseline's samples (or seconds of the stack of seeds) the method needs, geometric means, not tested.
    """
    rows = [
        dict(zip(CELL, key[:-1], strict=True))
        | {"samples": _length(method), "metric": name, "unit": metric.unit}
        | {"estimator": key[-1], "step_size": method[0].step_size}
        | {"baseline": baseline, "baseline_step_size": other[0].step_size, "n_seeds": len(method)}
        | _row(metric, method, other)
        for key, method in runs.items()
        if key[-1] != baseline
        for other in [runs[*key[:-1], baseline]]
        for name, metric in METRICS.items()
    ]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    table["p_adjusted"] = holm(table["p_value"].to_numpy(dtype=float))
    n_tests = int(table["p_value"].notna().sum())
    table["verdict"] = [_verdict(row, n_tests) for _, row in table.iterrows()]
    return table


def _length(runs: list[Run]) -> float:
    """Training samples of the longest run; NaN of a method without a curve."""
    return max((float(run.samples[-1]) for run in runs if len(run.samples)), default=math.nan)


def in_words(row: pd.Series) -> str:
    """A row in nats as one line for the terminal."""
    where = f"{row['dataset']}, {row['metric']}: {row['estimator']} - {row['baseline']}"
    if not math.isfinite(row["difference"]):
        return f"{where}: {row['verdict']}"
    interval = f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" if math.isfinite(row["ci_low"]) else ""
    verdict = f": {row['verdict']}" if row["verdict"] else ""
    return f"{where} = {row['difference']:+.2f}{interval} nats, {row['n_seeds']} seeds{verdict}"


def _row(metric: Metric, method: list[Run], baseline: list[Run]) -> dict[str, Any]:
    for name, runs in (("", method), ("baseline ", baseline)):
        diverged = sum(run.diverged for run in runs)
        if diverged:
            return {"verdict": f"{name}diverged: {diverged} of {len(runs)} seeds"}
        if metric.of_bound and not all(len(run.bound) for run in runs):
            return {"verdict": f"no value: {name or 'the method '}has no bound"}
    values, others = np.array(
        [metric.pair(run, other) for run, other in zip(method, baseline, strict=True)], dtype=float
    ).T
    if not (np.isfinite(values).all() and np.isfinite(others).all()):
        lacking = f"{(~np.isfinite(values - others)).sum()} of {len(values)} seeds"
        early = metric.unit == "times"
        why = "reached before the first report by" if early else "log p(x) refused for"
        return {"verdict": f"no value: {why} {lacking}"}
    if metric.unit == "times":
        summary = mean_and_interval(np.log(values / others))
        shown = {name: math.exp(value) for name, value in summary.items()}
        return shown | {
            "value": math.exp(np.log(values).mean()),
            "baseline_value": math.exp(np.log(others).mean()),
        }
    row = mean_and_interval(values - others) | {"value": values.mean(), "baseline_value": others.mean()}
    return row | (
        {"p_value": sign_flips.p_value(values - others)} if metric.tested and len(values) >= FEWEST else {}
    )


def _reached(run: Run, other: Run, axis: str) -> tuple[float, float]:
    """How much each needed to reach the worse of the two final bounds."""
    level = min(run.bound[-1], other.bound[-1])
    return first_reached(run, level, axis), first_reached(other, level, axis)


def gap(run: Run) -> float:
    """What the encoder costs: KL(q(z|x) || p(z|x)), mean over the points that log p(x) is known of."""
    return run.log_likelihood - run.elbo


def first_reached(run: Run, level: float, axis: str) -> float:
    """Samples or seconds at which the bound first reaches `level`, linear between report points.

    NaN where it lies above from the first report on: it was reached before, and where is not known.
    """
    along: Values = getattr(run, axis)
    n = int(np.argmax(run.bound >= level))
    if n == 0:
        return float(along[0]) if run.bound[0] == level else math.nan
    low, high = run.bound[n - 1], run.bound[n]
    return float(along[n - 1] + (level - low) / (high - low) * (along[n] - along[n - 1]))


def mean_and_interval(differences: Values) -> dict[str, float]:
    """The mean of paired differences (n,) and the 95 % interval of sign flips; NaN for fewer than FEWEST."""
    low, high = sign_flips.interval(differences)
    return {"difference": float(differences.mean()), "ci_low": low, "ci_high": high}


def holm(p: Sequence[float] | Values) -> Values:
    """p-values adjusted for their number by Holm's step-down procedure; NaN (not tested) stays and does not count."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def seeds_needed(n_tests: int) -> int:
    """The fewest seeds of which n differences of one sign pass Holm's first step: 2 x 2^-n <= LEVEL / n_tests."""
    return max(FEWEST, math.ceil(1 + math.log2(max(n_tests, 1) / LEVEL)))


def _verdict(row: pd.Series, n_tests: int) -> str:
    if isinstance(row["verdict"], str):
        return row["verdict"]
    if not METRICS[row["metric"]].tested:
        return ""
    needed = seeds_needed(n_tests)
    if row["n_seeds"] < needed:
        among = "" if needed == FEWEST else f" among {n_tests} tests"
        return f"too few seeds: {row['n_seeds']}, and a verdict{among} needs {needed}"
    if row["p_adjusted"] < LEVEL:
        return "better" if row["difference"] > 0 else "worse"
    return "no difference shown"
