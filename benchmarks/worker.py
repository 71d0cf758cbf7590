"""One contestant in an interpreter of its own: `worker.py CONTESTANT WORKLOAD POINTS CORES`.

Reads a number of steps from stdin, runs them, answers [steps, seconds, value] as a line of JSON, and waits for the
next number: between its turns it is blocked in a read.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO


def main(contestant: str, workload: str, points: str, cores: str) -> None:
    # first of all, because libraries size their thread pools when they are imported
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, json.loads(cores))
    channel = take_stdout()

    import contestants
    from aevb import data
    from workloads import Workload

    task = Workload(**json.loads(workload))
    split = data.load(Path(points).resolve() / f"{task.dataset}.npz")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where a library that insists on writing may do so
        run = contestants.prepare(contestant, task, split)
        for line in sys.stdin:
            started = time.perf_counter()
            outcome = run(int(line))
            seconds = time.perf_counter() - started
            print(json.dumps([outcome.steps, seconds, outcome.value]), file=channel, flush=True)
        os.chdir("/")


def take_stdout() -> TextIO:
    """The pipe to the parent; whatever libraries print goes to stderr instead."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


if __name__ == "__main__":
    main(*sys.argv[1:])
