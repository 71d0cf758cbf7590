"""One work folder and what happens to it: two runs at once, a run that was killed, a move, no permission to write."""

import os
import shutil
import signal
import subprocess

import pytest

from aevb import UserError
from aevb.files import require_writable
from disks import read_only
from workflows import (
    RUN,
    SMOKE_DIGITS,
    assert_same_weights,
    snakemake,
    snakemake_command,
    stored,
    succeeded,
    until,
)

LAPTOP_DIGITS = (*SMOKE_DIGITS, "scale=laptop")  # seconds of training, instead of one


def started(source, work, *arguments):
    """snakemake at work, in a process group of its own."""
    command, environment = snakemake_command(source, work, *arguments, config=LAPTOP_DIGITS)
    return subprocess.Popen(
        command,
        cwd=source,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def training(work):
    """Whether a trainer holds a run of the cell: it has signed its lock."""
    return any(path.read_text().strip() for path in (work / "results/.cells").rglob("seed0/lock"))


def trained_alone(source, folder):
    folder.mkdir()
    succeeded(snakemake(source, folder, RUN, config=LAPTOP_DIGITS))
    return folder


def test_of_two_runs_at_once_the_second_says_so_and_the_first_goes_on(source, tmp_path):
    first = started(source, tmp_path, RUN)
    until(lambda: training(tmp_path))
    said = snakemake(source, tmp_path, RUN, config=LAPTOP_DIGITS)
    assert said.returncode != 0
    assert "Directory cannot be locked" in said.stdout
    assert "--unlock" in said.stdout
    assert first.wait(timeout=300) == 0
    assert "Nothing to be done" in succeeded(snakemake(source, tmp_path, RUN, config=LAPTOP_DIGITS))


def test_a_killed_run_leaves_a_lock_and_after_unlocking_goes_on(source, tmp_path):
    """kill -9 of snakemake alone: its trainer lives on and holds its run, and a second trainer waits for it."""
    work = tmp_path / "work"
    work.mkdir()
    first = started(source, work, RUN)
    until(lambda: training(work))
    first.kill()
    first.wait()
    assert not (work / RUN).exists()
    said = snakemake(source, work, RUN, config=LAPTOP_DIGITS)
    assert said.returncode != 0
    assert "--unlock" in said.stdout
    succeeded(snakemake(source, work, "--unlock", config=LAPTOP_DIGITS))
    succeeded(snakemake(source, work, RUN, config=LAPTOP_DIGITS))
    assert_same_weights(work, trained_alone(source, tmp_path / "alone"))


def test_a_run_killed_with_all_its_trainers_goes_on_from_the_store(source, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    first = started(source, work, RUN)
    until(lambda: any((work / "results/.cells").rglob("weights-200000.safetensors")))  # on the way
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (work / RUN).exists()
    succeeded(snakemake(source, work, "--unlock", config=LAPTOP_DIGITS))
    succeeded(snakemake(source, work, RUN, config=LAPTOP_DIGITS))
    assert_same_weights(work, trained_alone(source, tmp_path / "alone"))


@pytest.mark.parametrize("with_metadata", [True, False])
def test_results_that_were_moved_train_nothing_again(digits, source, tmp_path, with_metadata):
    """As copying to another machine leaves them: new times, in any order, with or without .snakemake."""
    work = tmp_path / "elsewhere"
    work.mkdir()
    shutil.copytree(digits / "results", work / "results", copy_function=shutil.copyfile)
    if with_metadata:
        shutil.copytree(digits / ".snakemake", work / ".snakemake")
    for n, path in enumerate(sorted((work / "results").rglob("*"), reverse=True)):
        os.utime(path, (1.7e9 + n, 1.7e9 + n))
    before = stored(work)
    succeeded(snakemake(source, work, config=SMOKE_DIGITS))
    assert stored(work) == before


@pytest.mark.parametrize("part", ["", "results"])
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(source, tmp_path, part):
    work = tmp_path / "work"
    (work / "results").mkdir(parents=True)
    command, environment = snakemake_command(source, work, "results/data/digits.npz", config=SMOKE_DIGITS)
    said = read_only(work / part, command, cwd=source, env=environment)
    assert said.returncode != 0
    assert f"{work / part} cannot be written. Mend its permissions; or work elsewhere" in said.stdout
    assert "Traceback" not in said.stdout
    assert list((work / "results").iterdir()) == []


def test_a_finished_folder_that_can_be_written_or_is_not_there_passes(tmp_path):
    require_writable(tmp_path, tmp_path / "results")
    if os.getuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="cannot be written"):
            require_writable(tmp_path)


def test_the_clone_and_the_work_folder_may_have_any_name(digits, source, tmp_path):
    """Spaces, quotes and other scripts in both: a real run."""
    odd = tmp_path / "a clone für größe 隐 it's"
    shutil.copytree(source, odd / "clone")
    work = odd / "work 隐"
    succeeded(snakemake(odd / "clone", work, "figure4", config=SMOKE_DIGITS))
    assert_same_weights(work, digits)
