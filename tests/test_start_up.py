"""studies/start_up.py: it notes when a job begins and trains, and which of several jobs was the one."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import start_up
from aevb import markdown

ROOT = Path(__file__).parents[1]
TABLE = pd.read_csv(ROOT / "results/reference/start_up.csv")


class Running:
    def poll(self):
        return None


class Ended:
    def poll(self):
        return 1


def test_the_package_that_notes_does_what_the_package_does(tmp_path):
    """A job writes its moment down before anything is imported, a block of steps before it is taken."""
    source, notes = start_up.noting(tmp_path)
    environment = {"PYTHONPATH": str(source)}
    begun = time.time()
    job = [sys.executable, "-m", "aevb", "nothing"]
    done = subprocess.run(job, env=environment, capture_output=True, text=True, check=False)
    assert "invalid choice" in done.stderr
    block = (
        "from aevb.engine import Engine; e = Engine.__new__(Engine)\n"
        "e.restart, e._steps = print, lambda: print('steps')\n"
        "e.train_block(7)"
    )
    asked = [sys.executable, "-c", block]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "7\nsteps\n"
    (first, began), (second, trained) = (line.split() for line in notes.read_text().splitlines())
    assert (first, second) == ("job", "step")
    assert begun < float(began) < float(trained) < time.time()


def test_the_job_that_trains_is_the_last_that_began_before_the_first_step(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("job 1.0\njob 3.5\nstep 7.25\nstep 9.0\n")
    assert start_up.first_step(notes, Running()) == (3.5, 7.25)


def test_a_command_that_ends_without_training_is_an_error(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("job 1.0\n")
    with pytest.raises(AssertionError, match="ended before anything was trained"):
        start_up.first_step(notes, Ended())


def test_the_page_shows_the_table():
    text = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    assert markdown.insert_between_markers(text, "start-up", start_up.page(TABLE)) == text
    assert set(TABLE["data"]) == set(start_up.STATES)
    assert (TABLE["job"] < TABLE["step"]).all()
