"""Where the time of a scale goes: of all cores' seconds, how many train and estimate log p(x), and what are the rest?

    python studies/laptop_time.py WORK WALL CORES > results/reference/laptop_time.csv
    python studies/laptop_time.py --page results/reference/laptop_time.csv docs/speed.md

WORK: the folder of a finished `make reproduce` that began with no results; WALL: the seconds it took, by the clock of
the shell (`/usr/bin/time`); CORES: what --cores was. A job's seconds are those between the start and the end that
Snakemake noted; its arithmetic is what the job itself timed, the blocks of steps of a training and the estimators of
log p(x). The rest of a job is its start (Python, torch, data), for a training the bounds at report points and the
checkpoints, and its end. What no job has are cores that wait for the last jobs of a stage, and Snakemake.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import pages
from aevb.store import RunStore

TRAINING = ("step_size", "train")
OTHER = "data, tables, figures, report"
NAMES = {"step_size": "searches of step sizes", "train": "trainings", "evidence": "log p(x)", OTHER: OTHER}
COLUMNS = ["what", "jobs", "seconds", "arithmetic"]


def main(work: str, wall: str, cores: str) -> None:
    folder = Path(work)
    arithmetic = trained_seconds(folder) | {"evidence": evidence_seconds(folder)}
    spent = jobs(folder)
    spent["what"] = spent["rule"].where(spent["rule"].isin(list(arithmetic)), OTHER)
    rows = [
        [what, len(of), of["seconds"].sum(), arithmetic.get(str(what), 0.0)]
        for what, of in spent.groupby("what")
    ]
    rows.append(["no job", 0, float(wall) * int(cores) - spent["seconds"].sum(), 0.0])
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.1f")


def jobs(work: Path) -> pd.DataFrame:
    """rule and seconds of every job that Snakemake ran in `work`, from its notes on their files."""
    notes = [json.loads(note.read_text()) for note in (work / ".snakemake/metadata").iterdir()]
    found = {(note["rule"], *note["log"]): note for note in notes}  # a job has a note for each of its files
    return pd.DataFrame(
        [{"rule": note["rule"], "seconds": note["endtime"] - note["starttime"]} for note in found.values()]
    )


def trained_seconds(work: Path) -> dict[str, float]:
    """Seconds of the blocks of steps, by the rule that trained them: a cell's seeds are in its cell.json, the
    other runs of the store are candidates of a search."""
    records = [json.loads(path.read_text()) for path in (work / "results/runs").rglob("cell.json")]
    shown = {record["store"] for record in records}
    seconds = dict.fromkeys(TRAINING, 0.0)
    for checkpoint in (work / "results/.cells").glob("*/seed*/checkpoint.safetensors"):
        record = RunStore(checkpoint.parent).load_checkpoint()
        assert record, f"{checkpoint} cannot be read"
        rule = "train" if checkpoint.parent.relative_to(work).as_posix() in shown else "step_size"
        seconds[rule] += record.meta["device_seconds"]
    return seconds


def evidence_seconds(work: Path) -> float:
    """Seconds in estimators of log p(x), from the tables of the cells."""
    tables = [pd.read_csv(path) for path in (work / "results/runs").rglob("evidence.csv")]
    return float(sum((table["seconds_per_point"] * table["n_points"]).sum() for table in tables))


def lines(table: pd.DataFrame) -> Iterator[str]:
    total = table["seconds"].sum()
    yield "| | jobs | seconds of cores | share | of them training steps or estimators |"
    yield "|---|--:|--:|--:|--:|"
    for what, count, seconds, arithmetic in table[COLUMNS].itertuples(index=False, name=None):
        name, number = NAMES.get(what, what), f"{count:.0f}" if count else ""
        within = f"{arithmetic / seconds:.0%}" if arithmetic else ""
        yield f"| {name} | {number} | {seconds:.0f} | {seconds / total:.1%} | {within} |"
    yield f"| all | {table['jobs'].sum()} | {total:.0f} | | {table['arithmetic'].sum() / total:.1%} |"


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table))


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("laptop-time", page, *sys.argv[2:])
    else:
        main(*sys.argv[1:])
