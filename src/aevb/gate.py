"""The gate: every cell of a run beside its reference, stage by stage, as the rows of regression.csv."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from aevb.curves import interpolate
from aevb.experiments import Cell
from aevb.references import BOUND, LIKELIHOOD, Batch, Number, Seed
from aevb.regression import FAIL, OPEN, STALE, Judgement, Values, judge, margin

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
]


def values(test: Number, seeds: Iterable[Seed]) -> Values:
    """The tested number of each seed (n,), NaN where it has none."""
    return np.array([_value(test, seed) for seed in seeds], dtype=float)


def _value(test: Number, seed: Seed) -> float:
    known = dict(seed.curves.get(test.split, ())).get(test.samples)
    value = seed.log_likelihood if test.metric == LIKELIHOOD else known
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
    return float(max(apart)) if apart else math.nan


def in_words(row: pd.Series) -> str:
    """A test as one line for the terminal."""
    where = f"{row['verdict']}: {cell_of(row)}, {row['split']} {row['metric']} at {row['samples']:,}"
    if not math.isfinite(row["p_drop"]):
        return f"{where}: {row['reason']}"
    interval = f"{row['difference']:+.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}] nats"
    return f"{where}: {row['reason']}; {interval} beside the reference, {row['n_seeds']} seeds"


def cell_of(row: pd.Series) -> str:
    """The path of a row's cell."""
    sizes = f"h{row['n_hidden']}-z{row['n_latent']}-n{row['n_train']}"
    return f"{row['dataset']}/{row['estimator']}/{sizes}"


def is_open(rows: Iterable[dict[str, Any]]) -> bool:
    return any(row["verdict"] == OPEN for row in rows)


def beside_paper(
    rows: pd.DataFrame, paper: pd.DataFrame, figure2: Sequence[Cell], figure3: Sequence[Cell]
) -> pd.DataFrame:
    """The rows with the paper's value at their report point, and ours above it: for information, and on the test set
    alone, since the paper's training curves are running means. Empty outside the paper's curves."""
    shown = {BOUND: (2, {cell.path for cell in figure2}), LIKELIHOOD: (3, {cell.path for cell in figure3})}

    def value(row: pd.Series) -> float:
        figure, paths = shown[row["metric"]]
        named = {"figure": figure, "method": row["estimator"]} | {
            name: row[name] for name in ("dataset", "n_latent", "n_train", "split")
        }
        curve = paper[(paper[list(named)] == pd.Series(named)).all(axis="columns")]
        inside = curve["samples"].min() <= row["samples"] <= curve["samples"].max()
        known = inside and row["split"] == "test" and cell_of(row) in paths
        return float(interpolate(curve, row["samples"])) if known else math.nan

    beside = rows.assign(paper=[value(row) for _, row in rows.iterrows()])
    return beside.assign(above_paper=beside["value"] - beside["paper"])
