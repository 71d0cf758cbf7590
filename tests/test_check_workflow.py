"""`snakemake check` and `snakemake bless` as their users meet them: what they plan, and what they refuse."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workflows import (
    SMOKE_DIGITS,
    copy_of_the_source,
    edited,
    grid,
    planned,
    rules,
    searches,
    snakemake,
    with_value,
)

ROOT = Path(__file__).parents[1]
REFERENCE = "results/reference/digits_smoke.json"


@pytest.fixture
def clone(tmp_path):
    """A copy of the source to change, and a folder to work in."""
    return copy_of_the_source(tmp_path / "clone"), tmp_path / "work"


def refused(clone, target, *config):
    """One sentence, before any job."""
    said = snakemake(*clone, target, config=[*SMOKE_DIGITS, *config])
    assert said.returncode != 0
    assert "Finished jobid" not in said.stdout
    return said.stdout


def test_a_check_trains_every_cell_of_the_figures_once_and_apart_from_them(clone):
    jobs = planned(*clone, "check")
    cells = grid(["digits"])
    assert rules(jobs) == {
        "data": 1,
        "step_size": len(searches(cells)),
        "check_cell": len(cells),
        "regression": 1,
        "regression_pages": 1,
        "check": 1,
    }


def test_a_new_reference_takes_every_cell(clone):
    """The plan is refused in a folder that is no clone; what measures is planned by its files."""
    cells = grid(["digits"])
    files = [
        f"results/check/{dataset}/{name}/h{h}-z{z}-n{n}/reference.json" for dataset, name, h, z, n in cells
    ]
    assert rules(planned(*clone, *files))["measure"] == len(cells)


def test_a_reference_moves_only_for_a_reason(clone):
    for target in ("bless", "bless_golden"):
        assert 'snakemake bless --config reason="why it moves"' in refused(clone, target)


def test_a_reference_is_made_only_in_a_clone_without_changes(clone):
    assert "is no git clone" in refused(clone, "bless", "reason=because")


def test_a_missing_reference_is_named_with_what_to_do(clone):
    (clone[0] / REFERENCE).unlink()
    said = refused(clone, "check")
    assert "There is no reference for digits" in said
    assert "snakemake bless" in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (r'"seed": 20', '"seed": 21', "was edited"),
        (r'"schema_version": 1', '"schema_version": 0', "schema 0"),
        (r"(?s).*", "", "is no reference"),
    ],
)
def test_an_edited_or_older_or_broken_reference_is_named(clone, old, new, says):
    path = clone[0] / REFERENCE
    path.write_text(re.sub(old, new, path.read_text(), count=1))
    said = refused(clone, "check")
    assert says in said
    assert str(path) in said


def test_a_cell_without_a_reference_is_not_trained_and_closes_the_gate(clone):
    with edited(clone[0] / "config.yaml", with_value("figures.figure2.digits.n_latent", [2, 4])):
        said = snakemake(*clone, "--dry-run", "--printshellcmds", "check", config=SMOKE_DIGITS).stdout
    assert '"digits/aevb/h100-z4-n1500": ["stale", "no reference has this cell' in said
    assert "results/check/digits/aevb/h100-z4-n1500" not in said
    assert (
        '"digits/aevb/h100-z5-n1500": ["stale", "the reference has this cell' not in said
    )  # Figure 5 has it


def commit(source):
    (source / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())  # Python leaves its caches there
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(source), *identity, *arguments], check=True, capture_output=True)


def test_more_cells_than_a_command_can_name_are_not_measured_for_a_reference(clone):
    path = clone[0] / "config.yaml"
    path.write_text(with_value("figures.figure2.digits.n_latent", list(range(1, 1200)))(path.read_text()))
    commit(clone[0])
    assert "run several smaller configurations" in refused(clone, "bless", "reason=why")


def test_nothing_but_the_committed_configuration_is_blessed(clone):
    source, work = clone
    commit(source)
    said = snakemake(source, work, "bless", "--dry-run", config=[*SMOKE_DIGITS, "reason=why"])
    assert said.returncode == 0, said.stdout
    mine = work.with_name("mine.py")
    shutil.copy2(source / "src/aevb/estimators/aevb.py", mine)
    assert "as it is committed" in refused(clone, "bless", "reason=why", f"add={mine}")


def test_a_run_of_another_scale_is_judged_where_both_have_been(clone):
    """Without a reference of its own, a longer run is held against the shorter one's end."""
    for longer in (clone[0] / "results/reference").glob("digits_[!s]*.json"):
        longer.unlink()
    jobs = planned(*clone, "check", config=("scale=laptop", "datasets=digits"))
    with_bound = [
        cell for cell in grid(["digits"]) if cell[1] != "mcem"
    ]  # log p(x) is known at the ends alone
    assert rules(jobs)["check_cell"] == len(with_bound)
