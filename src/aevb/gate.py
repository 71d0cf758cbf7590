"""The gate: every cell of a run beside its reference, stage by stage, as the rows of regression.csv."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from aevb import UserError
from aevb.experiments import Cell, CheckJob, identity_of, path_of
from aevb.references import LIKELIHOOD, Batch, Number, Reference, Seed, tested
from aevb.regression import FAIL, INCONCLUSIVE, STALE, Judgement, Values, fewest_seeds, judge, margin

COLUMNS = [
    *(*Cell.IDENTITY, "metric", "split", "samples", "reference"),
    *(
        "verdict",
        "reason",
        "n_seeds",
        "n_diverged",
        "value",
        "n_reference",
        "reference_value",
        "reference_sd",
    ),
    *("margin", "difference", "ci_low", "ci_high", "p_drop", "p_rise", "largest_paired_difference"),
    *("step_size", "reference_step_size"),
]


Plan = tuple[dict[str, CheckJob], dict[str, tuple[str, str]]]


def plan(jobs: Sequence[CheckJob], references: Sequence[Reference], scale: str) -> Plan:
    """What is checked, by the cell's path and with the number of tests; and what is not: (verdict, reason).

    Raises UserError where the references have too few seeds for so many tests ever to fail.
    """
    found = {
        job.cell.path: tested(references, job.cell.path, job.samples, job.evidence is not None, scale)
        for job in jobs
    }
    unchecked = {path: _why_unchecked(known) for path, (known, numbers) in found.items() if not numbers}
    at_this_scale = {path for reference in references if reference.scale == scale for path in reference.cells}
    for path in sorted(at_this_scale - found.keys()):
        unchecked[path] = (STALE, "the reference has this cell, and config.yaml does not: snakemake bless")
    n_tests = sum(len(numbers) for _, numbers in found.values())
    for path, (known, numbers) in found.items():
        if known is not None and numbers and fewest_seeds(len(known.seeds), n_tests) is None:
            raise UserError(
                f"The reference of {path} has {len(known.seeds)} seeds: none of {n_tests} tests could ever fail. "
                "Choose fewer data sets, or make a reference of more seeds (scales.*.reference_seeds of config.yaml)."
            )
    checked = {
        job.cell.path: job.model_copy(update={"n_tests": n_tests}) for job in jobs if found[job.cell.path][1]
    }
    return checked, unchecked


def _why_unchecked(known: Batch | None) -> tuple[str, str]:
    if known is None:
        return STALE, "no reference has this cell: snakemake bless"
    return INCONCLUSIVE, "the reference has no number of this cell where the run ends or before"


def unchecked_row(path: str, verdict: str, reason: str) -> dict[str, Any]:
    """The row of a cell that could not be checked."""
    return {**identity_of(path), "verdict": verdict, "reason": reason}


def values(test: Number, seeds: Iterable[Seed]) -> Values:
    """The tested number of each seed (n,), NaN where it has none."""
    return np.array([_value(test, seed) for seed in seeds], dtype=float)


def _value(test: Number, seed: Seed) -> float:
    at_end = {seed.samples: seed.log_likelihood}  # where log p(x) is estimated, and nowhere else
    curve = at_end if test.metric == LIKELIHOOD else dict(seed.curves.get(test.split, ()))
    value = curve.get(test.samples)
    return math.nan if value is None else value


def row(test: Number, run: Sequence[Batch], known: Batch, n_tests: int) -> dict[str, Any]:
    """What the seeds so far say of one test; `run` holds them in their order, `known` is the reference's cell."""
    seeds = [seed for batch in run for seed in batch.seeds]
    found, reference = values(test, seeds), values(test, known.seeds)
    care = margin(reference)
    judgement = _unlike(run, known, test) or _diverged(seeds, found)
    judgement = judgement or judge(found, reference, care, n_tests)
    return {
        **known.cell.identity,
        "metric": test.metric,
        "split": test.split,
        "samples": test.samples,
        "reference": test.scale,
        "step_size": run[0].step_size,
        "reference_step_size": known.step_size,
        "n_seeds": len(seeds),
        "n_diverged": sum(seed.diverged for seed in seeds),
        "value": found.mean(),
        "n_reference": len(reference),
        "reference_value": reference.mean(),
        "reference_sd": reference.std(ddof=1),
        "margin": care,
        **_difference(found, reference),
        **judgement._asdict(),
        "largest_paired_difference": _paired(test, seeds, known.seeds),
    }


def _unlike(run: Sequence[Batch], known: Batch, test: Number) -> Judgement | None:
    """Where run and reference are not the same experiment there is nothing to test."""
    nothing = (math.nan, math.nan)
    for batch in run:
        if batch.data != known.data:
            return Judgement(FAIL, *nothing, "other data than the reference's: its digest differs")
        changed = [
            f"{name} is {mine!r} and was {theirs!r}"
            for name, mine, theirs in _fields(batch, known, test)
            if mine != theirs
        ]
        if changed:
            return Judgement(STALE, *nothing, f"config.yaml has changed since: {'; '.join(changed)}")
    return None


def _fields(batch: Batch, known: Batch, test: Number) -> list[tuple[str, Any, Any]]:
    mine, theirs = (side.cell.model_dump(exclude={"source"}) for side in (batch, known))
    fields = [(name, mine[name], theirs[name]) for name in mine]
    if test.metric == LIKELIHOOD:
        fields += [("evidence", batch.evidence, known.evidence), ("points", batch.points, known.points)]
    return fields


def _diverged(seeds: Sequence[Seed], values: Values) -> Judgement | None:
    """A diverged seed fails by itself, and is never averaged."""
    diverged = sum(seed.diverged for seed in seeds)
    if diverged:
        return Judgement(FAIL, math.nan, math.nan, f"diverged: {diverged} of {len(seeds)} seeds")
    missing = int((~np.isfinite(values)).sum())
    if missing:
        return Judgement(FAIL, math.nan, math.nan, f"no finite value: {missing} of {len(seeds)} seeds")
    return None


def _difference(values: Values, reference: Values) -> dict[str, float]:
    """The difference of the means with Welch's 95 % interval: what a reader wants to see; the verdict is by ranks."""
    low = high = math.nan
    if np.ptp(np.concatenate([values, reference])) > 0:
        low, high = stats.ttest_ind(values, reference, equal_var=False).confidence_interval()
    return {"difference": values.mean() - reference.mean(), "ci_low": float(low), "ci_high": float(high)}


def _paired(test: Number, seeds: Sequence[Seed], known: Sequence[Seed]) -> float:
    """How far equal seeds are from equal numbers: 0 where nothing has changed at all, not even the machine."""
    theirs = dict(zip([seed.seed for seed in known], values(test, known), strict=True))
    mine = zip([seed.seed for seed in seeds], values(test, seeds), strict=True)
    apart = [abs(value - theirs[seed]) for seed, value in mine if seed in theirs]
    return float(np.max(apart)) if apart else math.nan  # not the built-in, which loses a NaN


def in_words(row: pd.Series) -> str:
    """A test as one line for the terminal."""
    where = f"{row['verdict']}: {path_of(row)}"
    if not isinstance(row["metric"], str):
        return f"{where}: {row['reason']}"
    where += f", {row['split']} {row['metric']} at {int(row['samples']):,}"
    if not math.isfinite(row["p_drop"]):
        return f"{where}: {row['reason']}"
    interval = f"{row['difference']:+.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}] nats"
    return f"{where}: {row['reason']}; {interval} beside the reference, {row['n_seeds']} seeds"
