"""claims.py: the paper's orderings, found among the figures' cells and held against paired runs."""

import pandas as pd
import pytest

from aevb import claims
from test_references import CELL, batch, seed

POINTS = (10_000, 2_000_000)


def cell(estimator, n_latent=3, n_train=50_000, dataset="mnist", n_hidden=100):
    changes = {"estimator": estimator, "n_latent": n_latent, "n_train": n_train, "dataset": dataset}
    return CELL.model_copy(update=changes | {"n_hidden": n_hidden})


def runs(ends, n=4):
    """By the cell's path: n seeds with a common noise, and a little of its own, about the cell's end."""
    return {
        one.path: [batch([seed(k, end + k / 10 + place * (k % 2) / 1e3, POINTS) for k in range(n)], one)]
        for place, (one, end) in enumerate(ends)
    }


FIGURE2 = [cell(name, n_latent) for n_latent in (3, 5) for name in ("aevb", "wake_sleep")]
FIGURE3 = [cell(name, n_train=n) for n in (1000, 50_000) for name in ("aevb", "wake_sleep", "mcem")]


def verdicts(ends, figure2=(), figure3=(), n=4):
    found = claims.table(claims.claims(figure2, figure3), runs(ends, n))
    return {(row["claim"], row["better"], row["n_train"]): row["verdict"] for row in found}


def test_every_panel_has_its_claims():
    named = [(c.name, c.better.estimator, c.worse.estimator) for c in claims.claims(FIGURE2, FIGURE3)]
    assert named == [
        *[(claims.ABOVE, "aevb", "wake_sleep")] * 2,
        (claims.LATENTS, "aevb", "aevb"),
        (claims.FEW, "mcem", "aevb"),
        (claims.LIKELIER, "aevb", "wake_sleep"),
        (claims.ALL, "aevb", "mcem"),
        (claims.LIKELIER, "aevb", "wake_sleep"),
    ]
    [latents] = [c for c in claims.claims(FIGURE2, ()) if c.name == claims.LATENTS]
    assert (latents.better.n_latent, latents.worse.n_latent) == (5, 3)


def test_what_the_paper_saw_holds_and_its_opposite_is_broken():
    ends = list(zip(FIGURE2, (2.0, 1.0, 3.0, 1.5), strict=True))
    assert set(verdicts(ends, FIGURE2).values()) == {"holds"}
    upside_down = [(one, -end) for one, end in ends]
    assert set(verdicts(upside_down, FIGURE2).values()) == {"against"}
    assert set(verdicts(upside_down, FIGURE2, n=12).values()) == {"broken"}


def test_the_orders_of_figure_3():
    ends = list(zip(FIGURE3, (2.0, 1.0, 3.0, 2.0, 1.0, 0.0), strict=True))
    assert set(verdicts(ends, (), FIGURE3).values()) == {"holds"}
    upside_down = [(one, -end) for one, end in ends]
    assert set(verdicts(upside_down, (), FIGURE3).values()) == {"against"}
    assert set(verdicts(upside_down, (), FIGURE3, n=12).values()) == {"broken"}


def test_only_signs_of_many_seeds_break_a_claim():
    """However clear the t-interval of three seeds is: noise need not be normal."""
    pair = [(FIGURE2[0], -9.0), (FIGURE2[1], 9.0)]
    for n, expected in ((3, "against"), (6, "against"), (12, "broken")):
        assert set(verdicts(pair, FIGURE2[:2], n=n).values()) == {expected}


def test_a_data_sets_latents_are_compared_with_its_own():
    frey = [cell("aevb", n_latent, 1600, "frey") for n_latent in (2, 5)]
    named = {
        (c.better.dataset, c.better.n_latent, c.worse.n_latent)
        for c in claims.claims([*FIGURE2, *frey], ())
        if c.name == claims.LATENTS
    }
    assert named == {("mnist", 5, 3), ("frey", 5, 2)}


def test_the_whole_training_set_is_not_few_data():
    named = {c.name for c in claims.claims((), FIGURE3[3:])}
    assert claims.FEW not in named
    assert claims.ALL in named


def test_latents_that_change_nothing_do_not_hurt():
    pair = [FIGURE2[0], FIGURE2[2]]
    assert set(verdicts([(one, 1.0) for one in pair], pair).values()) == {"holds"}


def noisy(n, spread):
    """AEVB's lead over wake-sleep is 0.5 with a wide spread between seeds."""
    better = [seed(k, 0.5 + spread * (-1) ** k, POINTS) for k in range(n)]
    worse = [seed(k, 0.0, POINTS) for k in range(n)]
    return {FIGURE2[0].path: [batch(better, FIGURE2[0])], FIGURE2[1].path: [batch(worse, FIGURE2[1])]}


def test_log_px_of_runs_that_end_elsewhere_is_not_compared():
    ends = list(zip(FIGURE3[:2], (2.0, 1.0), strict=True))
    [found] = claims.claims((), FIGURE3[:2])
    together, apart = runs(ends), runs(ends)
    path = found.better.path
    apart[path] = [batch([seed(k, 2 + k / 10, (*POINTS, 10_000_000)) for k in range(4)], found.better)]
    verdict = [claims.table([found], some)[0]["verdict"] for some in (together, apart)]
    assert verdict == ["holds", "undecided"]


def test_a_difference_that_the_seeds_do_not_settle_is_undecided():
    [row] = claims.table(claims.claims(FIGURE2[:2], ()), noisy(4, 3.0))
    assert row["verdict"] == "undecided"
    assert row["ci_low"] < 0 < row["ci_high"]


def test_a_single_seed_or_a_diverged_one_decides_nothing():
    for found in (noisy(1, 0.0), noisy(3, 0.0)):
        path = FIGURE2[0].path
        if len(found[path][0].seeds) > 1:
            found[path] = [batch([seed(0, 0.5, POINTS), seed(1, diverged=True, points=POINTS)], FIGURE2[0])]
        [row] = claims.table(claims.claims(FIGURE2[:2], ()), found)
        assert row["verdict"] == "undecided"


def test_differences_are_paired_by_seed():
    """The common noise of equal seeds, far larger than the lead, is not in the interval."""
    apart = [seed(k, 0.5 + 100 * k, POINTS) for k in range(4)]
    worse = [seed(k, 0.4 + 100 * k + (k % 2) / 1e3, POINTS) for k in range(4)]
    found = {FIGURE2[0].path: [batch(apart, FIGURE2[0])], FIGURE2[1].path: [batch(worse, FIGURE2[1])]}
    [row] = claims.table(claims.claims(FIGURE2[:2], ()), found)
    assert row["verdict"] == "holds"
    assert row["difference"] == pytest.approx(0.0995)


def test_a_claim_is_due_on_the_papers_data_from_as_many_samples_as_it_takes():
    ends = [(one, 1.0) for one in FIGURE2]
    due = {row["claim"]: row["due"] for row in claims.table(claims.claims(FIGURE2, ()), runs(ends))}
    assert due == {claims.ABOVE: True, claims.LATENTS: False}
    digits = [cell(name, dataset="digits") for name in ("aevb", "wake_sleep")]
    assert not claims.table(claims.claims(digits, ()), runs([(one, 1.0) for one in digits]))[0]["due"]
    short = {path: [batch([seed(0), seed(1)], batches[0].cell)] for path, batches in runs(ends).items()}
    assert {row["due"] for row in claims.table(claims.claims(FIGURE2, ()), short)} == {False}


def test_a_claim_in_words_says_what_is_beside_what():
    [row] = claims.table(claims.claims(FIGURE2[:2], ()), noisy(4, 3.0))
    said = claims.in_words(pd.Series(row))
    assert said.startswith(
        "AEVB above wake-sleep: undecided. MNIST, N_train = 50000: AEVB, N_z = 3 against Wake-Sleep"
    )
    assert list(row) == claims.COLUMNS
