"""Does the gate notice real bugs? Each is planted alone in a copy of the source, and both gates are run on it.

    python studies/mutations.py FOLDER > results/reference/mutations_smoke.csv

FOLDER holds the copies and their runs; a bug that was tried there is not tried again. One row a bug: how many of the
estimators' golden traces moved, whether `snakemake check` closed the gate at smoke scale on the digits, and which
cells it named.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import changes
from changes import Change

ROOT = Path(__file__).parents[1]
COPIED = [
    "Snakefile",
    "config.yaml",
    "pyproject.toml",
    "workflow",
    "profiles",
    "src",
    "tests",
    "results/reference",
]
COLUMNS = ["bug", "file", "golden", "gate", "fail", "stale", "inconclusive", "cells"]


class Mutation(NamedTuple):
    bug: str
    file: str  # below src/aevb
    old: str
    new: str


FUSED = """                torch._fused_adagrad_("""
UNROOTED = """                for name in names:
                    ascent = g[name][models] - decay * w[name][models]
                    sums[name][models] += ascent.square()
                    w[name][models] += rate.view(-1, *[1] * (ascent.ndim - 1)) * ascent / sums[name][models]
                continue
                torch._fused_adagrad_("""

MUTATIONS = (
    Mutation("none", "bounds.py", "", ""),
    Mutation("KL divergence with the wrong sign", "estimators/aevb.py", "- q.kl()", "+ q.kl()"),
    Mutation(
        "the reported bound at z = mu",
        "bounds.py",
        "for generator in generators])",
        "for generator in generators]) * 0",
    ),
    Mutation("no prior on the weights", "optimisers.py", "weight_decay=decay", "weight_decay=0.0"),
    Mutation("no prior on z in log p(x, z)", "models.py", " + standard_normal_log_prob(z)", ""),
    Mutation("Adagrad without the square root", "optimisers.py", FUSED, UNROOTED),
    Mutation("no warm-up of Adagrad", "optimisers.py", ">= warm_up", ">= 0"),
    Mutation("sleep phase on real data", "estimators/wake_sleep.py", "params.phi, dreamt)", "params.phi, x)"),
    Mutation("HMC accepts everything", "hmc.py", "noise.u.double() < acceptance", "noise.u.double() < 2"),
    Mutation("HMC without its first half step", "hmc.py", "momentum + 0.5 * eps * point.grad", "momentum"),
    Mutation("curves under each other's seeds", "stack.py", "{split: values[m]", "{split: values[-1 - m]"),
    Mutation("split off by one", "data.py", "images[: dataset.n_train]", "images[1 : dataset.n_train + 1]"),
    Mutation(
        "one noise for the whole minibatch",
        "estimators/__init__.py",
        "q.sample(eps)",
        "q.sample(eps[..., :1, :])",
    ),
    Mutation("grey levels over 17 in place of 16", "bounds.py", ".div_(scale)", ".div_(scale + 1)"),
)


def planted(mutation: Mutation, folder: Path) -> Path:
    """A copy of the source with the bug."""
    source = folder / "source"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    changes.make(Change(mutation.file, mutation.old, mutation.new), source / "src/aevb")
    return source


def run(command: list[str], source: Path, log: Path) -> str:
    """The output of a command that sees the copy's package."""
    environment = os.environ | {"PYTHONPATH": str(source / "src")}
    with open(log, "w+") as stream:
        subprocess.run(command, cwd=source, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        stream.seek(0)
        return stream.read()


def golden_moved(source: Path, folder: Path) -> str:
    """Of how many estimators the golden trace moved."""
    test = "tests/test_golden.py::test_no_number_has_moved"
    said = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test], source, folder / "golden.log"
    )
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", said)}
    return f"{counts.get('failed', 0)} of {counts.get('failed', 0) + counts.get('passed', 0)}"


def gate_said(source: Path, folder: Path) -> dict[str, str | int]:
    """What `snakemake check` found."""
    work = folder / "work"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(source / "Snakefile"),
        "--directory",
        str(work),
    ]
    settings = ["--cores", "1", "check", "--config", "scale=smoke", "datasets=digits"]
    said = run([*command, *settings], source, folder / "gate.log")
    table = work / "results/tables/regression.csv"
    if not table.exists():
        stopped = next((line for line in said.splitlines() if "rror" in line), "")
        return {"gate": f"stopped: {stopped.strip()}"}
    with open(table) as stream:
        rows = list(csv.DictReader(stream))
    count = {
        verdict: sum(row["verdict"] == verdict for row in rows)
        for verdict in ("fail", "stale", "inconclusive")
    }
    named = sorted(
        {
            f"{row['estimator']} h{row['n_hidden']}-z{row['n_latent']}-n{row['n_train']} ({row['verdict']})"
            for row in rows
            if row["verdict"] in ("fail", "stale")
        }
    )
    closed = "The gate is closed" in said
    return {"gate": "closed" if closed else "open", **count, "cells": "; ".join(named)}


def main(folder: Path) -> None:
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    for n, mutation in enumerate(MUTATIONS):
        place = folder / f"{n:02}"
        known = place / "row.csv"
        if not known.exists():
            shutil.rmtree(place, ignore_errors=True)
            source = planted(mutation, place)
            row = {"bug": mutation.bug, "file": mutation.file, "golden": golden_moved(source, place)}
            row |= gate_said(source, place)
            with open(known, "w") as stream:
                csv.DictWriter(stream, COLUMNS, lineterminator="\n").writerow(row)
        with open(known) as stream:
            [row] = csv.DictReader(stream, COLUMNS)
        table.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
