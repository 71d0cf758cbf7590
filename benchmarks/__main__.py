"""Speed beside what one would pick instead, in one run: `python benchmarks --points results/data --table ...`.

Exit status: 0 done, 1 something the user can mend (its message on stderr), 2 wrong usage.
"""

import argparse
import platform
import sys
from pathlib import Path

import pandas as pd

import contestants
import measure
import report
from aevb import UserError, drawing, files
from workloads import WORKLOADS


def main(argv: list[str]) -> int:
    options = parse(argv)
    try:
        require(sorted({name for workload in WORKLOADS for name in workload.contestants}))
        rounds = run(measure.Protocol(options.points, options.rounds, options.seconds, log))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = report.summary(rounds, machine())
    files.write_table(options.rounds_table, rounds)
    files.write_table(options.table, table)
    drawing.save(report.figure(table), options.figure)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("--points", type=Path, required=True, help="folder of mnist.npz and frey.npz")
    parser.add_argument("--table", type=Path, required=True, help="the summary, CSV")
    parser.add_argument("--rounds-table", type=Path, required=True, help="every turn, CSV")
    parser.add_argument(
        "--figure", type=Path, required=True, help="path without suffix of the pdf, png and svg"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn, about")
    return parser.parse_args(argv)


def require(names: list[str]) -> None:
    """Raises UserError unless every package that these contestants need is installed."""
    absent = contestants.missing(names)
    if absent:
        raise UserError(
            f"The benchmark needs {', '.join(absent)}: "
            "pip install -r requirements-benchmark.lock (make benchmark does it)."
        )


def run(protocol: measure.Protocol) -> pd.DataFrame:
    """All workloads on one core; with more than one available, on all of them, and as independent cells."""
    cores = measure.available_cores()
    rows = []
    for workload in WORKLOADS:
        name = f"{workload.dataset} {workload.estimator}"
        protocol.log(f"{name}, one core")
        rows += measure.side_by_side(workload, cores[:1], protocol)
        if len(cores) > 1:
            protocol.log(f"{name}, all {len(cores)} cores")
            rows += measure.side_by_side(workload, cores, protocol)
            protocol.log(f"{name}, {len(cores)} cells at once")
            rows += measure.cells(workload, cores, protocol)
    return pd.DataFrame(rows)


def machine() -> str:
    """The CPU's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
