"""gate.py: what a row of regression.csv says of a run, and when there is nothing to test."""

import math

import numpy as np
import pandas as pd
import pytest

from aevb import UserError, gate
from aevb.experiments import CheckJob
from aevb.references import Number
from test_references import CELL, TASK, batch, reference, seed

BOUND = Number(CELL.path, "bound", "test", 20_000, "smoke")
LIKELIHOOD = Number(CELL.path, "log_likelihood", "test", 30_000, "smoke")
NOISE = np.random.default_rng(0).normal(size=33)
KNOWN = batch([seed(n, NOISE[n]) for n in range(21)])


def run(n=3, shift=0.0, first=21, **changes):
    """Seeds whose noise is that of `first`, first + 1, ...: from 21 on it is fresh."""
    return [batch([seed(k, NOISE[first + k] + shift) for k in range(n)], **changes)]


def row(batches, test=BOUND, known=KNOWN, n_tests=3):
    return gate.row(test, batches, known, n_tests)


def test_a_row_holds_the_means_of_both_and_their_difference():
    found = row(run())
    mine, theirs = -29 + NOISE[21:24], -29 + NOISE[:21]
    assert found["value"] == pytest.approx(mine.mean())
    assert found["reference_value"] == pytest.approx(theirs.mean())
    assert found["reference_sd"] == pytest.approx(theirs.std(ddof=1))
    assert found["difference"] == pytest.approx(mine.mean() - theirs.mean())
    assert found["ci_low"] < found["difference"] < found["ci_high"]
    assert (found["n_seeds"], found["n_reference"], found["samples"]) == (3, 21, 20_000)
    assert set(found) == set(gate.COLUMNS)


def test_the_same_experiment_passes_and_a_worse_one_fails():
    assert row(run())["verdict"] == "pass"
    worse = row(run(6, shift=-6))
    assert (worse["verdict"], worse["n_diverged"]) == ("fail", 0)
    assert row(run(6, shift=6))["verdict"] == "stale"
    assert row(run(6, shift=-6), LIKELIHOOD)["verdict"] == "fail"


def test_equal_seeds_with_equal_numbers_are_seen():
    assert row(run(first=0))["largest_paired_difference"] == 0
    assert row(run(first=0, shift=0.25))["largest_paired_difference"] == pytest.approx(0.25)
    assert row(run(first=1))["largest_paired_difference"] > 0


def test_a_seed_without_a_number_is_not_equal_to_its_former_self():
    seeds = [seed(0, NOISE[0]), seed(1, diverged=True)]
    for order in (seeds, seeds[::-1]):
        assert math.isnan(row([batch(order)])["largest_paired_difference"])


def test_log_px_is_known_where_a_run_ends_and_nowhere_else():
    assert np.isfinite(gate.values(LIKELIHOOD, KNOWN.seeds)).all()
    assert np.isnan(gate.values(LIKELIHOOD._replace(samples=20_000), KNOWN.seeds)).all()


def test_a_diverged_seed_fails_by_itself_and_is_never_averaged():
    found = row([batch([seed(0), seed(1, diverged=True), seed(2)])])
    assert (found["verdict"], found["n_diverged"]) == ("fail", 1)
    assert "1 of 3" in found["reason"]
    assert math.isnan(found["value"])
    assert math.isnan(found["p_drop"])


def test_an_estimate_that_is_not_finite_fails():
    found = row([batch([seed(0), seed(1, log_likelihood=None), seed(2)])], LIKELIHOOD)
    assert (found["verdict"], found["reason"]) == ("fail", "no finite value: 1 of 3 seeds")


def test_other_data_fail_and_another_configuration_is_stale():
    assert (found := row(run(data="other")))["verdict"] == "fail"
    assert "data" in found["reason"]
    other = CELL.model_copy(update={"batch_size": 50, "settings": {"n_samples": 2}})
    found = row(run(cell=other))
    assert found["verdict"] == "stale"
    assert "batch_size is 50 and was 100" in found["reason"]
    assert "settings" in found["reason"]


def test_where_a_readers_file_lies_does_not_matter():
    moved = CELL.model_copy(update={"source": "/elsewhere/mine.py"})
    assert row(run(cell=moved))["verdict"] == "pass"


def test_another_estimate_of_log_likelihood_is_stale_and_its_bounds_are_not():
    other = TASK.model_copy(update={"settings": {"draws": 80}})
    assert row(run(evidence=other), LIKELIHOOD)["verdict"] == "stale"
    assert row(run(evidence=other), BOUND)["verdict"] == "pass"


def test_the_step_sizes_of_both_are_shown():
    found = row(run(step_size=0.01))
    assert (found["step_size"], found["reference_step_size"]) == (0.01, 0.1)


# ------------------------------------------------------------------------------------------------- the plan


def job(n_latent=2, samples=30_000):
    cell = CELL.model_copy(update={"n_latent": n_latent})
    fields = {"snapshots": (), "evidence": TASK, "points": 10, "scale": "smoke", "reference_seeds": 21}
    return CheckJob(cell=cell, samples=samples, **fields)


def test_the_family_is_every_number_of_every_cell():
    other = CELL.model_copy(update={"n_latent": 3})
    known = reference(KNOWN, batch(KNOWN.seeds, other, evidence=None))
    checked, unchecked = gate.plan([job(2), job(3)], [known], "smoke")
    assert {path: mine.n_tests for path, mine in checked.items()} == {CELL.path: 5, other.path: 5}
    assert unchecked == {}


def test_what_has_no_reference_or_no_cell_is_stale_and_what_cannot_be_compared_a_doubt():
    gone, without_bound = (CELL.model_copy(update={"n_latent": n}) for n in (4, 5))
    mcem = [seed(n).model_copy(update={"curves": {}}) for n in range(21)]
    known = reference(KNOWN, batch(KNOWN.seeds, gone), batch(mcem, without_bound))
    checked, unchecked = gate.plan([job(2), job(3), job(5, samples=50_000)], [known], "smoke")
    assert list(checked) == [CELL.path]
    assert {path[-9:]: why[0] for path, why in unchecked.items()} == {
        "h5-z3-n200"[-9:]: "stale",
        "h5-z4-n200"[-9:]: "stale",
        "h5-z5-n200"[-9:]: "inconclusive",
    }
    assert "config.yaml does not" in unchecked[gone.path][1]
    rows = [gate.unchecked_row(path, *why) for path, why in unchecked.items()]
    assert [found["n_latent"] for found in rows] == [3, 5, 4]
    said = gate.in_words(pd.DataFrame(rows, columns=gate.COLUMNS).iloc[0])
    assert said == "stale: digits/aevb/h5-z3-n200: no reference has this cell: snakemake bless"


def test_a_reference_of_another_scale_need_not_have_every_cell():
    known = reference(KNOWN, batch(KNOWN.seeds, CELL.model_copy(update={"n_latent": 4})), scale="laptop")
    assert gate.plan([job(2)], [known], "smoke")[1] == {}


def test_a_reference_against_which_nothing_could_fail_is_refused():
    few = reference(batch(KNOWN.seeds[:3]))
    with pytest.raises(UserError, match="3 seeds: none of 3 tests could ever fail"):
        gate.plan([job(2)], [few], "smoke")


# ------------------------------------------------------------------------------------------------- in words


def test_a_row_in_words_names_cell_and_number():
    said = gate.in_words(pd.Series(row(run(6, shift=-6))))
    assert said.startswith(f"fail: {CELL.path}, test bound at 20,000: dropped by more than")
    diverged = gate.in_words(pd.Series(row([batch([seed(0, diverged=True), seed(1), seed(2)])])))
    assert diverged.endswith("diverged: 1 of 3 seeds")
