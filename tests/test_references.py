"""references.py: files that nobody edits unnoticed, and which of a run's numbers they can judge."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from aevb import UserError, clone, golden, references, regression
from aevb.experiments import EvidenceTask
from aevb.references import Batch, Certificate, Number, Reference, Seed
from helpers import CELL

ROOT = Path(__file__).parents[1]
TASK = EvidenceTask(name="appendix_d_robust", settings={"draws": 40}, samples=(30_000,))
POINTS = (10_000, 20_000, 30_000)


def seed(number=0, shift=0.0, points=POINTS, diverged=False, log_likelihood=-20.0):
    curve = tuple((point, None if diverged else -30 + n + shift) for n, point in enumerate(points))
    return Seed(
        seed=number,
        samples=points[-1],
        diverged=diverged,
        curves={"train": curve, "test": curve},
        log_likelihood=None if diverged or log_likelihood is None else log_likelihood + shift,
    )


def batch(seeds, cell=CELL, evidence=TASK, **changes):
    fields = {"step_size": 0.1, "data": "digest", "numerics": "code", "device": "cpu", "threads": 1}
    versions = {"torch": "2"}
    return Batch(
        cell=cell, evidence=evidence, points=10, versions=versions, seeds=tuple(seeds), **fields | changes
    )


def reference(*batches, scale="smoke"):
    certificate = Certificate(reason="first", command="bless", commit="0", date="today", checks=("all",))
    cells = {known.cell.path: known for known in batches}
    return Reference(dataset="digits", scale=scale, certificate=certificate, margins={}, cells=cells)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / references.name_of("digits", "smoke")
    path.write_text(references.text(reference(batch([seed(0), seed(1, diverged=True)]))))
    return path


def refused(path):
    with pytest.raises(UserError) as error:
        references.read(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_reference_comes_back_as_it_was_written(written):
    known = references.read(written)
    assert known == reference(batch([seed(0), seed(1, diverged=True)]))
    assert references.text(known) == written.read_text()


def test_a_cell_is_a_line_so_that_versions_can_be_compared(written):
    [line] = [line for line in written.read_text().splitlines() if CELL.path in line]
    assert json.loads(line.split(":", 1)[1])["step_size"] == 0.1


@pytest.mark.parametrize(
    ("old", "new"),
    [("-30.0", "-20.0"), ("first", "better"), ('"seed": 1', '"seed": 2'), ('digest",', 'other",')],
)
def test_an_edited_reference_is_refused(written, old, new):
    text = written.read_text()
    assert old in text
    written.write_text(text.replace(old, new))
    assert "edited" in refused(written)


def test_another_schema_is_refused_with_what_to_do(written):
    written.write_text(written.read_text().replace('"schema_version": 1', '"schema_version": 0'))
    message = refused(written)
    assert "schema 0" in message
    assert "snakemake bless" in message


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1, 2", '{"digest": "", "schema_version": 1}', "\x00"])
def test_what_is_no_reference_is_refused(written, content):
    written.write_text(content)
    assert "no reference" in refused(written)


def test_a_dataset_without_a_reference_is_named_with_what_to_do(written):
    assert references.files(written.parent, ["digits"], ["smoke", "laptop"]) == [written]
    with pytest.raises(UserError, match=r"mnist.*snakemake bless"):
        references.files(written.parent, ["digits", "mnist"], ["smoke", "laptop"])


# ------------------------------------------------------------------------------------------------- what is tested


def judged(*known, samples=30_000, has_likelihood=True, scale="smoke"):
    return references.tested(known, CELL.path, samples, has_likelihood, scale)


def test_bounds_are_tested_at_the_largest_point_that_both_have():
    known = reference(batch([seed()]))
    for samples, expected in ((30_000, 30_000), (25_000, 20_000), (10_000, 10_000), (10**9, 30_000)):
        found = {test.samples for test in judged(known, samples=samples)[1] if test.metric == "bound"}
        assert found == {expected}
    assert judged(known, samples=5_000)[1] == []


def test_log_likelihood_is_tested_only_where_both_end():
    known = reference(batch([seed()]))
    named = Number(CELL.path, "log_likelihood", "test", 30_000, "smoke")
    assert named in judged(known)[1]
    assert named not in judged(known, samples=20_000)[1]
    assert named not in judged(known, samples=50_000)[1]
    assert named not in judged(known, has_likelihood=False)[1]


def test_of_several_references_the_one_that_reaches_furthest_is_taken():
    short, long = reference(batch([seed(points=POINTS[:2])])), reference(batch([seed()]), scale="laptop")
    assert judged(short, long)[0] is long.cells[CELL.path]
    assert judged(short, long, samples=20_000, scale="smoke")[0] is short.cells[CELL.path]
    assert judged(short, long, samples=20_000, scale="laptop")[0] is long.cells[CELL.path]


def test_a_cell_that_no_reference_has_is_not_tested():
    other = CELL.model_copy(update={"n_latent": 9})
    assert references.tested([reference(batch([seed()]))], other.path, 30_000, True, "smoke") == (None, [])


# ------------------------------------------------------------------------------------------------- the committed ones


def committed():
    return sorted(path for path in (ROOT / "results/reference").glob("*_*.json"))


def test_the_committed_references_are_whole_and_say_where_they_come_from():
    assert ROOT / "results/reference/digits_smoke.json" in committed()
    for path in committed():
        known = references.read(path)
        assert path.name == references.name_of(known.dataset, known.scale)
        assert len(known.certificate.commit) == 40
        assert known.certificate.reason
        for name, cell in known.cells.items():
            assert (name, cell.cell.dataset) == (cell.cell.path, known.dataset)
            assert not any(seed.diverged for seed in cell.seeds)
            assert [seed.seed for seed in cell.seeds] == list(range(len(cell.seeds)))
            ends = [dict(seed.curves["test"])[cell.end] for seed in cell.seeds if seed.curves]
            margins = known.margins[name]
            assert not ends or margins["test bound"] == pytest.approx(
                regression.margin(np.array(ends)), abs=1e-4
            )
    assert golden.read(ROOT / "results/reference/golden.json").certificate.reason


NUMERICS = clone.COMMITTED


def history():
    """The files of every commit that moved a reference."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git history here")
    run = [git, "-C", str(ROOT)]
    shallow = subprocess.run([*run, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
    if shallow.stdout.strip() != "false":
        pytest.skip("a shallow clone: its first commit seems to add everything at once")
    log = [*run, "log", "--no-merges", "--format=%x00%H", "--name-only", "--", "results/reference/*.json"]
    out = subprocess.run(
        [*log[:4], "--full-diff", *log[4:]], capture_output=True, text=True, check=True
    ).stdout
    return [part.split() for part in out.split("\x00")[1:]]


def moves_both(files):
    return any(file.endswith(".json") and file.startswith("results/reference/") for file in files) and any(
        file.startswith(NUMERICS) for file in files
    )


def test_no_commit_moves_a_reference_and_the_numerics_together():
    commits = history()
    assert commits  # there are references, so some commit brought them
    for commit, *files in commits:
        together = [file for file in files if file.startswith(NUMERICS)]
        assert not moves_both(files), f"{commit} moves a reference and {together}: make two commits of it"


def test_a_commit_that_did_would_be_named():
    assert moves_both(["results/reference/digits_smoke.json", "src/aevb/bounds.py"])
    assert not moves_both(["results/reference/digits_smoke.json", "CHANGELOG.md"])
    assert not moves_both(["src/aevb/bounds.py", "tests/test_bounds.py"])
