"""The gate's jobs: measure, bless and check a tiny cell from end to end, in a clone of its own."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mutations
from aevb import UserError, claims, data, gate, references
from aevb.experiments import CheckJob, EvidenceTask
from aevb.jobs import bless, check
from helpers import two_kinds
from test_references import CELL

ROOT = Path(__file__).parents[1]
TINY = CELL.model_copy(update={"n_train": 64, "train_points": 64})
TASK = EvidenceTask(
    name="appendix_d_robust",
    settings={"draws": 40, "leapfrogs": 4, "acceptance": 0.9, "warm_up": 60},
    samples=(20_000,),
)
JOB = CheckJob(
    cell=TINY,
    samples=20_000,
    snapshots=(),
    evidence=TASK,
    points=5,
    scale="smoke",
    reference_seeds=13,
    n_tests=3,
)
WHERE = {"device": "cpu", "threads": 1}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with data, a step size and a blessed reference."""
    root = tmp_path_factory.mktemp("clone")
    git(root, "init", "-q")
    (root / "config.yaml").write_text("# none\n")
    git(root, "add", "config.yaml")
    git(root, "commit", "-q", "-m", "first")
    data.save(two_kinds(64), root / "digits.npz")
    pd.DataFrame([{"step_size": 0.1, "chosen": True}]).to_csv(root / "step_sizes.csv", index=False)
    check.measure(JOB, **given(root), output=root / "measured.json", **WHERE)
    bless.bless([root / "measured.json"], "smoke", "first", "snakemake bless", root)
    return root


def given(root):
    return {
        "points": root / "digits.npz",
        "step_sizes": root / "step_sizes.csv",
        "store_root": root / "store",
    }


def known(root):
    return root / "results/reference/digits_smoke.json"


def checked(root, reference, job=JOB):
    seeds, rows = root / "seeds.json", root / "rows.csv"
    check.check(job, [reference], **given(root), seeds=seeds, output=rows, **WHERE)
    return pd.read_csv(rows)


def test_a_reference_holds_every_seed_with_its_certificate(clone):
    reference = references.read(known(clone))
    [cell] = reference.cells.values()
    assert [seed.seed for seed in cell.seeds] == list(range(13))
    assert all(np.isfinite(seed.log_likelihood) for seed in cell.seeds)
    assert [point for point, _ in cell.seeds[0].curves["test"]] == [10_000, 20_000]
    assert (reference.certificate.reason, len(reference.certificate.commit)) == ("first", 40)
    assert any("13 seeds" in line for line in reference.certificate.checks)


def test_an_untouched_tree_passes_with_the_very_same_numbers(clone):
    rows = checked(clone, known(clone))
    assert rows["verdict"].tolist() == ["pass"] * 3
    assert rows["largest_paired_difference"].tolist() == [0.0] * 3
    assert rows["metric"].tolist() == ["bound", "bound", "log_likelihood"]


def test_a_worse_run_takes_the_seeds_it_needs_and_fails(clone, tmp_path):
    """Held against a reference that is two nats better, as the run would be after a loss of two."""
    reference = references.read(known(clone))
    cell = reference.cells[TINY.path]
    better = [
        seed.model_copy(
            update={
                "curves": {s: tuple((p, v + 2) for p, v in c) for s, c in seed.curves.items()},
                "log_likelihood": seed.log_likelihood + 2,
            }
        )
        for seed in cell.seeds
    ]
    changed = reference.model_copy(
        update={"cells": {TINY.path: cell.model_copy(update={"seeds": tuple(better)})}}
    )
    path = tmp_path / "digits_smoke.json"
    path.write_text(references.text(changed))
    rows = checked(clone, path)
    assert rows["verdict"].tolist() == ["fail"] * 3
    assert set(rows["n_seeds"]) <= {3, 6}
    assert len(json.loads((clone / "seeds.json").read_text())) == (rows["n_seeds"].max() // 3)


def test_a_cell_without_a_reference_is_refused_by_name(clone):
    other = JOB.model_copy(update={"cell": TINY.model_copy(update={"n_latent": 3})})
    with pytest.raises(UserError, match="h5-z3-n64"):
        checked(clone, known(clone), other)


# ------------------------------------------------------------------------------------------------- bless


def test_a_reference_moves_with_before_and_after(clone, capsys):
    before = known(clone).read_text()
    bless.bless([clone / "measured.json"], "smoke", "again", "snakemake bless", clone)
    said = capsys.readouterr().out
    assert "again" in said
    assert f"{TINY.path} test bound at 20,000: " in said
    assert " -> " in said
    assert "(13 seeds) (+0.00)" in said
    known(clone).write_text(before)


def test_a_broken_reference_gives_way_and_that_is_said(clone, capsys):
    before = known(clone).read_text()
    known(clone).write_text(before.replace('"reason"', '"cause"'))
    bless.bless([clone / "measured.json"], "smoke", "again", "snakemake bless", clone)
    assert "cannot be read" in capsys.readouterr().out
    assert references.read(known(clone)).certificate.reason == "again"
    known(clone).write_text(before)


def test_no_reference_moves_without_a_reason_or_from_a_changed_tree(clone):
    before = known(clone).read_text()
    for reason in ("", "  "):
        with pytest.raises(UserError, match="reason"):
            bless.bless([clone / "measured.json"], "smoke", reason, "", clone)
    (clone / "config.yaml").write_text("# changed\n")
    with pytest.raises(UserError, match=r"config\.yaml"):
        bless.bless([clone / "measured.json"], "smoke", "why", "", clone)
    git(clone, "checkout", "config.yaml")
    assert known(clone).read_text() == before


def test_no_reference_without_a_clone(clone, tmp_path):
    with pytest.raises(UserError, match="no git clone"):
        bless.bless([clone / "measured.json"], "smoke", "why", "", tmp_path)


def refuses(clone, tmp_path, change, match):
    [*batches] = json.loads((clone / "measured.json").read_text())
    change(batches)
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(batches))
    with pytest.raises(UserError, match=match):
        bless.bless([path], "smoke", "why", "", clone)


def test_a_diverged_seed_no_estimate_or_too_few_seeds_make_no_reference(clone, tmp_path):
    refuses(clone, tmp_path, lambda batches: batches[1]["seeds"][0].update(diverged=True), r"\[3\] diverged")
    refuses(clone, tmp_path, lambda batches: batches[0]["seeds"][2].update(log_likelihood=None), r"\[2\]")
    refuses(clone, tmp_path, lambda batches: batches[0].update(numerics="other"), "other code")
    refuses(clone, tmp_path, lambda batches: batches.__delitem__(slice(1, None)), "reference_seeds")


# ------------------------------------------------------------------------------------------------- the page


def test_the_pages_tables_are_those_of_the_committed_files(tmp_path):
    page = tmp_path / "regression.md"
    page.write_text((ROOT / "docs/regression.md").read_text())
    reference = ROOT / "results/reference"
    check.regression_page(reference / "gate_nights.csv", reference / "mutations_smoke.csv", page)
    assert page.read_text() == (ROOT / "docs/regression.md").read_text()


def test_the_planted_bugs_can_still_be_planted_and_were_all_tried():
    for mutation in mutations.MUTATIONS[1:]:
        text = (ROOT / "src/aevb" / mutation.file).read_text()
        assert text.count(mutation.old) == 1, mutation.bug
    tried = pd.read_csv(ROOT / "results/reference/mutations_smoke.csv", keep_default_na=False)
    assert tried["bug"].tolist() == [mutation.bug for mutation in mutations.MUTATIONS]
    assert tried["gate"][0] == "open"
    assert len(tried) - 1 >= 8


# ------------------------------------------------------------------------------------------------- verdict


def tables(folder, verdicts, claimed=()):
    names = ["aevb", "wake_sleep", "mcem"]
    rows = [
        {"dataset": "digits", "estimator": name, "n_hidden": 5, "n_latent": 2, "n_train": 64}
        | {"metric": "bound", "split": "test", "samples": 20_000, "verdict": verdict, "reason": "why"}
        | {"n_seeds": 3, "difference": -1.0, "ci_low": -2.0, "ci_high": 0.0, "p_drop": 0.01}
        for name, verdict in zip(names, verdicts, strict=True)
    ]
    found = [
        {"claim": name, "dataset": "mnist", "n_train": 1, "better": "a", "worse": "b", "metric": "bound"}
        | {"due": due, "verdict": verdict, "difference": 1.0, "ci_low": 0.0, "ci_high": 2.0, "n_seeds": 3}
        for name, due, verdict in claimed
    ]
    pd.DataFrame(rows, columns=gate.COLUMNS).to_csv(folder / "regression.csv", index=False)
    pd.DataFrame(found, columns=claims.COLUMNS).to_csv(folder / "claims.csv", index=False)
    return folder / "regression.csv", folder / "claims.csv"


def test_a_gate_that_passes_says_so(tmp_path, capsys):
    check.verdict(*tables(tmp_path, ["pass"] * 3, [("early", False, "broken"), ("shown", True, "holds")]))
    assert capsys.readouterr().out.startswith("3 tests: 3 pass. Claims of the paper: 1 holds.")


def test_a_doubt_is_said_and_fails_nothing(tmp_path, capsys):
    check.verdict(*tables(tmp_path, ["pass", "inconclusive", "pass"], [("open", True, "undecided")]))
    said = capsys.readouterr().out
    assert "inconclusive: digits/wake_sleep/h5-z2-n64" in said
    assert "open: undecided" in said


@pytest.mark.parametrize("verdict", ["fail", "stale"])
def test_a_failing_or_stale_cell_closes_the_gate_by_name(tmp_path, verdict):
    with pytest.raises(UserError, match="digits/mcem/h5-z2-n64") as error:
        check.verdict(*tables(tmp_path, ["pass", "pass", verdict]))
    assert "digits/aevb" not in str(error.value)
    assert "snakemake bless" in str(error.value)
    assert "Claims" not in str(error.value)


def test_a_broken_claim_that_is_due_closes_the_gate_and_no_blessing_opens_it(tmp_path):
    with pytest.raises(UserError, match="broken: shown") as error:
        check.verdict(
            *tables(tmp_path, ["pass"] * 3, [("shown", True, "broken"), ("early", False, "broken")])
        )
    assert "snakemake bless" not in str(error.value)
    assert "no reference" in str(error.value)
