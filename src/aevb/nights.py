"""How often the gate is wrong, by simulation: nights of a suite whose numbers are known to be as before, or not.

A night is one `snakemake check`: every test has a reference and up to 12 seeds, drawn anew, and the decisions are
those of aevb.regression. Noise has unit standard deviation, and nats are worth little enough that the margin is a
quarter of the estimated one. In some cases all tests are as before, so that each failure is a false alarm; in others
the first of them alone is worse, and what counts is whether it is named.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aevb.experiments import STAGES
from aevb.regression import MARGIN_SD, Values, decide, p_of_drop, p_of_rise

Noise = Callable[[np.random.Generator, tuple[int, ...]], Values]

CHUNK = 500  # nights at a time


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return generator.standard_normal(shape)


def t3(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Student's t with three degrees of freedom: some seeds lie far off."""
    return generator.standard_t(3, shape) / np.sqrt(3)


def bimodal(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Three seeds of ten end in a worse optimum, four standard deviations of either mode below."""
    worse = generator.random(shape) < 0.3
    values = generator.standard_normal(shape) - 4 * worse
    return (values + 4 * 0.3) / np.sqrt(1 + 16 * 0.3 * 0.7)


NOISES: dict[str, Noise] = {"normal": normal, "t3": t3, "bimodal": bimodal}


class Night(NamedTuple):
    """Of every test (nights, tests): whether it failed, was too good, or left a doubt, and the seeds that it took."""

    failed: NDArray[np.bool_]
    too_good: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]
    n_seeds: NDArray[np.int64]


Change = Callable[[np.random.Generator, Values], Values]  # of the first test's seeds (nights, 12)
Gate = Callable[[Values, Values], Night]  # values (nights, tests, 12) beside references (nights, tests, m)


def unchanged(generator: np.random.Generator, values: Values) -> Values:
    return values


def shifted(by: float) -> Change:
    return lambda generator, values: values - by


def doubled_variance(generator: np.random.Generator, values: Values) -> Values:
    return values * np.sqrt(2)


def one_diverged(generator: np.random.Generator, values: Values) -> Values:
    """One of the first three seeds."""
    lost = np.arange(values.shape[-1]) == generator.integers(0, STAGES[0], len(values))[:, None]
    return np.where(lost, np.nan, values)


def some_collapse(generator: np.random.Generator, values: Values) -> Values:
    """Each seed has one chance in four to end ten standard deviations lower."""
    return values - 10 * (generator.random(values.shape) < 0.25)


def sequential(values: Values, reference: Values) -> Night:
    """The gate of this suite."""
    shape = values.shape[:-1]
    n_tests = shape[-1]
    margin = MARGIN_SD * reference.std(-1, ddof=1)
    nothing = np.zeros(shape, bool)
    night = Night(nothing, nothing.copy(), nothing.copy(), np.zeros(shape, np.int64))
    undecided = np.ones(shape, bool)
    lost, values = np.isnan(values), np.nan_to_num(values)  # whatever stands there, a diverged seed decides
    for n in STAGES:
        seen = values[undecided][:, :n], reference[undecided], margin[undecided]
        dropped, lower = decide(p_of_drop(*seen), n_tests, n == STAGES[-1])
        risen, higher = decide(p_of_rise(*seen), n_tests, n == STAGES[-1])
        diverged = lost[undecided][:, :n].any(-1)
        dropped, risen = dropped | diverged, risen & ~diverged
        night.failed[undecided] = dropped
        night.too_good[undecided] = risen
        night.doubtful[undecided] = (lower | higher) & ~(dropped | risen)
        night.n_seeds[undecided] = n
        undecided = undecided & night.doubtful
    return night


def two_sd(values: Values, reference: Values) -> Night:
    """The usual gate: one run against the reference's mean minus two standard deviations."""
    failed = values[..., 0] < reference.mean(-1) - 2 * reference.std(-1, ddof=1)
    nothing = np.zeros(failed.shape, bool)
    return Night(failed, nothing, nothing, np.ones(failed.shape, np.int64))


def simulate(
    noise: Noise,
    nights: int,
    n_tests: int,
    n_reference: int,
    change: Change = unchanged,
    all_shifted: float = 0.0,
    gate: Gate = sequential,
) -> Night:
    """Nights whose first test has undergone `change`, and of which all tests have dropped by `all_shifted`."""
    generator = np.random.default_rng(0)
    parts = []
    for start in range(0, nights, CHUNK):
        shape = (min(CHUNK, nights - start), n_tests)
        reference = noise(generator, (*shape, n_reference))
        values = noise(generator, (*shape, STAGES[-1])) - all_shifted
        values[:, 0] = change(generator, values[:, 0])
        parts.append(gate(values, reference))
    return Night(*(np.concatenate(field) for field in zip(*parts, strict=True)))


class Case(NamedTuple):
    """What has happened on a night, and whether a failure is then false."""

    name: str
    change: Change = unchanged
    all_shifted: float = 0.0
    false: bool = False
    gate: Gate = sequential


CASES = (
    Case("nothing has changed", false=True),
    Case("every test is down by the margin", all_shifted=MARGIN_SD, false=True),
    Case("one test is down by 1 sd", shifted(1.0)),
    Case("one test is down by 2 sd", shifted(2.0)),
    Case("one test is down by 3 sd", shifted(3.0)),
    Case("one test is down by 5 sd", shifted(5.0)),
    Case("one test has twice the variance", doubled_variance),
    Case("one of the first three seeds of one test diverged", one_diverged),
    Case("one seed in four of one test is down by 10 sd", some_collapse),
    Case("nothing has changed; gate: mean - 2 sd, one seed", false=True, gate=two_sd),
)


def table(nights: int, families: tuple[tuple[int, int], ...]) -> pd.DataFrame:
    """gate_nights.csv: shares of nights. families: (number of tests, seeds of the reference).

    false_alarm: any test fails that has not changed; named: the changed test fails; too_good and doubtful: of the
    changed test or, where none is, of any. seeds: the mean over tests.
    """
    return pd.DataFrame(
        [
            _row(case, name, noise, nights, n_tests, n_reference)
            for n_tests, n_reference in families
            for case in CASES
            for name, noise in NOISES.items()
        ]
    )


def _row(
    case: Case, name: str, noise: Noise, nights: int, n_tests: int, n_reference: int
) -> dict[str, str | int | float]:
    night = simulate(noise, nights, n_tests, n_reference, case.change, case.all_shifted, case.gate)
    others = night.failed if case.false else night.failed[:, 1:]
    about = slice(None) if case.false else slice(0, 1)
    return {
        "tests": n_tests,
        "reference_seeds": n_reference,
        "case": case.name,
        "noise": name,
        "nights": nights,
        "false_alarm": others.any(1).mean(),
        "named": np.nan if case.false else night.failed[:, 0].mean(),
        "too_good": night.too_good[:, about].any(1).mean(),
        "doubtful": night.doubtful[:, about].any(1).mean(),
        "seeds": night.n_seeds[:, about].mean(),
    }
