"""What the paper says in words of its Figures 2 and 3, as orderings that a run either shows or does not.

Differences are paired by seed. A claim `holds` where the 95 % t-interval of their mean lies above the line that the
claim draws; where it lies below, the run speaks `against` it. Three seeds' t-intervals are for the eye. What closes
the gate is a claim that is `broken`: by an exact one-sided test of sign flips, adjusted for the number of claims that
are due, for which it takes about twelve seeds. A claim is due on the paper's own data and from as many training
samples as it takes to show; before that it is stated for information.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from aevb import sign_flips
from aevb.curves import method_name
from aevb.datasets import DATASETS, dataset_name
from aevb.experiments import Cell
from aevb.gate import values
from aevb.references import BOUND, LIKELIHOOD, Batch, Number
from aevb.regression import ALPHA, MARGIN_NATS, Values

HOLDS, AGAINST, BROKEN, UNDECIDED = "holds", "against", "broken", "undecided"
COLUMNS = [
    *("claim", "dataset", "n_hidden", "n_train", "metric", "samples", "better", "worse", "due", "verdict"),
    *("n_seeds", "difference", "ci_low", "ci_high", "p_broken"),
]

ABOVE, LATENTS = "AEVB above wake-sleep", "more latents do not hurt"
FEW, ALL, LIKELIER = (
    "MCEM no worse than AEVB on few data",
    "AEVB above MCEM on all data",
    "AEVB's log p(x) above wake-sleep's",
)
# training samples from which the paper's own curves show it, and ours where they have gone as far: before 10 million
# AEVB is ahead of MCEM even on few data, and our 200 latents have not yet caught up with 20
DUE_FROM = {ABOVE: 1_000_000, LATENTS: 10_000_000, FEW: 20_000_000, ALL: 2_000_000, LIKELIER: 2_000_000}


class Claim(NamedTuple):
    """`better` is above `worse` on the test set, by more than `least` nats."""

    name: str
    better: Cell
    worse: Cell
    metric: str
    least: float


def claims(figure2: Sequence[Cell], figure3: Sequence[Cell]) -> list[Claim]:
    """The paper's claims about the cells of its figures."""
    return [*_above_wake_sleep(figure2), *_more_latents(figure2), *_evidence_order(figure3)]


def table(found: Sequence[Claim], runs: dict[str, list[Batch]]) -> list[dict[str, Any]]:
    """The rows of claims.csv; runs: the batches of every cell, by its path."""
    samples = [_samples(claim, runs) for claim in found]
    due = [_is_due(claim, reached) for claim, reached in zip(found, samples, strict=True)]
    return [
        _row(claim, runs, reached, is_due, sum(due))
        for claim, reached, is_due in zip(found, samples, due, strict=True)
    ]


def _samples(claim: Claim, runs: dict[str, list[Batch]]) -> int:
    """The end that both have reached."""
    return min(runs[cell.path][0].seeds[0].samples for cell in (claim.better, claim.worse))


def _is_due(claim: Claim, samples: int) -> bool:
    return DATASETS[claim.better.dataset].in_paper and samples >= DUE_FROM[claim.name]


def _above_wake_sleep(cells: Sequence[Cell]) -> list[Claim]:
    """ "...our method converged considerably faster and reached a better solution in all experiments"."""
    pairs = [
        (cell, _other(cells, cell, estimator="wake_sleep")) for cell in cells if cell.estimator == "aevb"
    ]
    return [Claim(ABOVE, cell, other, BOUND, 0.0) for cell, other in pairs if other is not None]


def _more_latents(cells: Sequence[Cell]) -> list[Claim]:
    """ "Superfluous latent variables did not result in overfitting"."""
    found = []
    for cell in (cell for cell in cells if cell.estimator == "aevb"):
        like = [n for n in range(cell.n_latent) if _other(cells, cell, n_latent=n) is not None]
        other = _other(cells, cell, n_latent=max(like, default=None))
        if other is not None:
            found.append(Claim(LATENTS, cell, other, BOUND, -MARGIN_NATS))
    return found


def _evidence_order(cells: Sequence[Cell]) -> list[Claim]:
    """Figure 3: MCEM is as good as AEVB on few data and far behind on all of them; wake-sleep is below."""
    found = []
    for cell in (cell for cell in cells if cell.estimator == "aevb"):
        small = cell.n_train < DATASETS[cell.dataset].n_train
        mcem, wake_sleep = (_other(cells, cell, estimator=name) for name in ("mcem", "wake_sleep"))
        if mcem is not None and small:
            found.append(Claim(FEW, mcem, cell, LIKELIHOOD, -MARGIN_NATS))
        elif mcem is not None:
            found.append(Claim(ALL, cell, mcem, LIKELIHOOD, 0.0))
        if wake_sleep is not None:
            found.append(Claim(LIKELIER, cell, wake_sleep, LIKELIHOOD, 0.0))
    return found


def _other(cells: Sequence[Cell], cell: Cell, **changes: Any) -> Cell | None:
    """The cell that differs from this one in what is named alone."""
    wanted = cell.identity | changes
    return next((other for other in cells if other.identity == wanted), None)


def _row(claim: Claim, runs: dict[str, list[Batch]], samples: int, due: bool, n_due: int) -> dict[str, Any]:
    better, worse = (runs[cell.path] for cell in (claim.better, claim.worse))
    differences = _differences(claim, better, worse, samples)
    n = len(differences)
    finite = n > 1 and bool(np.isfinite(differences).all())
    low = high = p = math.nan
    if finite:
        test = stats.ttest_1samp(differences, claim.least)
        low, high = (float(end) for end in test.confidence_interval())
        p = sign_flips.p_low(differences - claim.least)
    return {
        "claim": claim.name,
        **{name: getattr(claim.better, name) for name in ("dataset", "n_hidden", "n_train")},
        "metric": claim.metric,
        "samples": samples,
        "better": _named(claim.better),
        "worse": _named(claim.worse),
        "due": due,
        "verdict": _verdict(low - claim.least, high - claim.least, p, n_due),
        "n_seeds": n,
        "difference": float(differences.mean()) if n else math.nan,
        "ci_low": low,
        "ci_high": high,
        "p_broken": p,
    }


def _verdict(low: float, high: float, p: float, n_due: int) -> str:
    """low, high: of the difference, above the claim's line."""
    if p <= ALPHA / max(n_due, 1):
        return BROKEN
    return HOLDS if low > 0 else AGAINST if high < 0 else UNDECIDED


def _differences(claim: Claim, better: list[Batch], worse: list[Batch], samples: int) -> Values:
    """better - worse of every seed that both have (n,)."""
    test = Number("", claim.metric, "test", samples, "")
    mine, theirs = (
        {seed.seed: value for seed, value in zip(seeds, values(test, seeds), strict=True)}
        for seeds in ([seed for batch in batches for seed in batch.seeds] for batches in (better, worse))
    )
    return np.array([mine[seed] - theirs[seed] for seed in mine if seed in theirs], dtype=float)


def _named(cell: Cell) -> str:
    return f"{method_name(cell.estimator)}, N_z = {cell.n_latent}"


def in_words(row: pd.Series) -> str:
    """A claim as one line for the terminal."""
    where = (
        f"{dataset_name(row['dataset'])}, N_train = {row['n_train']}: {row['better']} against {row['worse']}"
    )
    return (
        f"{row['claim']}: {row['verdict']}. {where}: {row['metric']} {row['difference']:+.2f} "
        f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}] nats, {row['n_seeds']} seeds"
    )
