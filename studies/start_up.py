"""How long after `snakemake` does the first training step come?

    python studies/start_up.py RAW ROUNDS > results/reference/start_up.csv
    python studies/start_up.py --page results/reference/start_up.csv docs/speed.md

RAW: a folder with the raw files of both data sets, taken as the mirror. Every round begins in an empty folder, once
with the raw files alone and once with the data prepared; `snakemake --cores 1` is stopped at the first step of its
first search for a step size. A copy of the package, with nothing else changed, writes down when a job begins and when
it trains. Nothing else should run meanwhile. The csv has seconds since the command: the beginning of the job that
trains, and its first step.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import changes
import pages

ROOT = Path(__file__).parents[1]
PREPARED = [f"results/data/{dataset}.npz" for dataset in ("mnist", "frey")]
STATES = {"raw files": [], "prepared data": PREPARED}
STEP = "        self.restart(block)\n        return self._steps()\n"
PATIENCE = 300  # seconds
COLUMNS = ["data", "round", "job", "step"]


def main(raw: str, rounds: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, notes = noting(Path(folder))
        environment = os.environ | {"PYTHONPATH": str(source), "AEVB_DATA_MIRROR": str(Path(raw).absolute())}
        rows = [
            [state, number, *measured(made, notes, environment)]
            for number in range(int(rounds))
            for state, made in STATES.items()
        ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.2f")


def noting(folder: Path) -> tuple[Path, Path]:
    """A copy of the package that notes the moments, its PYTHONPATH, and the file of the notes."""
    notes = folder / "notes.txt"

    def note(moment: str) -> str:
        said = f"'{moment} %r\\n' % __import__('time').time()"
        return f"__import__('pathlib').Path({str(notes)!r}).open('a').write({said})\n"

    job = changes.Change("__main__.py", "import argparse\n", note("job") + "import argparse\n")
    step = changes.Change("engine.py", STEP, f"        {note('step')}{STEP}")
    return changes.changed_copy(folder, job, step), notes


def measured(made: list[str], notes: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from the command to the job that trains first and to its first step, where `made` is there already."""
    with tempfile.TemporaryDirectory() as work:
        snakemake = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", work, "--cores", "1"]
        if made:
            subprocess.run([*snakemake, *made], env=environment, capture_output=True, check=True)
        notes.write_text("")
        began = time.time()
        with subprocess.Popen(
            snakemake,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as command:
            try:
                job, step = first_step(notes, command)
            finally:
                os.killpg(command.pid, signal.SIGKILL)
    return job - began, step - began


def first_step(notes: Path, command: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """When the job that trains first began, and when it trained."""
    for _ in range(PATIENCE * 10):
        moments = [line.split() for line in notes.read_text().splitlines()]
        steps = [float(moment) for what, moment in moments if what == "step"]
        if steps:
            begun = (float(moment) for what, moment in moments if what == "job")
            return max(moment for moment in begun if moment < steps[0]), steps[0]
        assert command.poll() is None, "snakemake ended before anything was trained"
        time.sleep(0.1)
    raise AssertionError(f"nothing was trained in {PATIENCE} s")


def lines(table: pd.DataFrame) -> Iterator[str]:
    """Median and range over the rounds."""
    yield "| begins with | the job that trains | its first step |"
    yield "|---|--:|--:|"
    for state, rounds in table.groupby("data", sort=False):
        values = (
            f"{rounds[moment].median():.1f} s ({rounds[moment].min():.1f} - {rounds[moment].max():.1f})"
            for moment in ("job", "step")
        )
        yield f"| {state} | {' | '.join(values)} |"


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table))


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("start-up", page, *sys.argv[2:])
    else:
        main(*sys.argv[1:])
