"""Has a number got worse? A sequential test of a run's seeds against a reference's, and what may be said of them.

Of every number the null hypothesis is that it has dropped by no more than a margin too small to care about. The
seeds come in stages (the first 3, 6, then 12); at each, the exact one-sided rank test of Mann & Whitney (1947) sets
those so far against the reference's. It assumes of the noise only that it is the same on both sides, so that heavy
tails, two modes or a number of unusual scale give no false alarms. Each test at each stage has its share
ALPHA / (tests x stages) of the chance of a false alarm: by the union bound the chance that a family of tests has any
is below ALPHA, although the stages share their seeds and all of them the reference. A stage that shows nothing ends
the test early, which can only make false alarms rarer (in the spirit of Gandy & Scott 2020, whose own bounds need
fresh seeds at every stage and a reference without error).

The same test in the other direction asks whether a number is too good: then its reference is out of date, or
something leaks from the test set.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aevb.experiments import STAGES

Values = NDArray[np.float64]

ALPHA = 0.01  # chance of a false alarm among all tests of a run, in each direction
GO_ON = 0.1  # a p-value below which more seeds are worth their cost
DOUBTFUL = 0.05  # ... and, adjusted for the number of tests, below which the last seeds leave a doubt
MARGIN_NATS, MARGIN_SD = 0.1, 0.25

VERDICTS = FAIL, STALE, INCONCLUSIVE, PASS = "fail", "stale", "inconclusive", "pass"
OPEN = "open"  # until the next stage


class Judgement(NamedTuple):
    """What a stage says: `open` asks for the next one's seeds. p-values are those of the tests, unadjusted."""

    verdict: str
    p_drop: float
    p_rise: float
    reason: str


def margin(reference: Values) -> float:
    """The drop that does not matter, in nats: 0.1, or a quarter of the standard deviation of the reference (n,)."""
    return max(MARGIN_NATS, MARGIN_SD * float(np.std(reference, ddof=1)))


def p_of_drop(values: Values, reference: Values, margin: float | Values) -> Values:
    """Exact p-value of values (..., n) against reference (..., m): they lie lower by more than `margin` (...)."""
    shifted = np.round(
        values + np.asarray(margin)[..., None], 6
    )  # so that a drop of exactly the margin is none
    test = stats.mannwhitneyu(shifted, reference, alternative="less", method="exact", axis=-1)
    return np.asarray(test.pvalue)


def p_of_rise(values: Values, reference: Values, margin: float | Values) -> Values:
    """The same, that they lie higher."""
    return p_of_drop(-values, -reference, margin)


def level(n_tests: int) -> float:
    """The p-value at which one test at one stage fails."""
    return ALPHA / (n_tests * len(STAGES))


def fewest_seeds(n_reference: int, n_tests: int) -> int | None:
    """The first stage at which so many tests can fail at all, against so many seeds; None where none can."""
    for n in STAGES:
        if p_of_drop(np.linspace(-2, -1, n), np.linspace(1, 2, n_reference), 0.0) <= level(n_tests):
            return n
    return None


def decide(p: Values, n_tests: int, last: bool | NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    """Which p-values (...) reject, and which others ask for more seeds or, at the last stage, leave a doubt."""
    rejects = p <= level(n_tests)
    unsure = np.where(last, p * n_tests * len(STAGES) <= DOUBTFUL, p <= GO_ON)
    return rejects, unsure & ~rejects


def judge(values: Values, reference: Values, margin: float, n_tests: int) -> Judgement:
    """What the seeds so far (n,), n a stage, say beside the reference's (m,), among `n_tests` tests. All finite."""
    last = len(values) >= STAGES[-1]
    p_drop = float(p_of_drop(values, reference, margin))
    p_rise = float(p_of_rise(values, reference, margin))
    dropped, may_have_dropped = (bool(part) for part in decide(np.asarray(p_drop), n_tests, last))
    risen, may_have_risen = (bool(part) for part in decide(np.asarray(p_rise), n_tests, last))
    if dropped:
        return Judgement(FAIL, p_drop, p_rise, f"dropped by more than {margin:.2g} nats")
    if risen:
        better = "too good: the reference is out of date, or something leaks from the test set"
        return Judgement(STALE, p_drop, p_rise, better)
    if not (may_have_dropped or may_have_risen):
        return Judgement(PASS, p_drop, p_rise, "")
    direction = "lower" if may_have_dropped else "higher"
    doubt = f"{len(values)} seeds lie {direction}, not clearly"
    return Judgement(INCONCLUSIVE if last else OPEN, p_drop, p_rise, doubt)
