"""What log p(x) costs at the paper's sizes: `python benchmarks/evidence.py ...`.

Each task runs in a process of its own with --threads threads, from weights to estimates, on a decoder that was
trained for a moment, so that its posteriors have parted from the prior. Peak memory is that of the whole process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from aevb import data, files, models, processor
from aevb.bounds import to_unit
from aevb.evidence import Evidence, annealed, appendix_d, importance
from aevb.models import Model, Params
from aevb.streams import stream
from contestants import suite
from workloads import Workload

CPU = torch.device("cpu")
TRAINING = 30  # blocks of 100 minibatches


class Task(NamedTuple):
    name: str
    estimator: Callable[..., Evidence]
    n_hidden: int
    n_latent: int
    n_train: int  # training points
    n_test: int
    settings: dict[str, int]
    limit: float  # seconds; NaN where there is none


TASKS = (
    Task(
        "Figure 3, one point of a curve: appendix_d_robust", appendix_d.evidence, 100, 3, 1000, 1000, {}, 30.0
    ),
    Task("IWAE-5000 on MNIST's test set", importance.evidence, 500, 20, 0, 10_000, {"draws": 5000}, 600.0),
    Task("AIS, 500 temperatures, 4 chains", annealed.evidence, 500, 20, 0, 200, {}, float("nan")),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/evidence.py", description=__doc__)
    parser.add_argument("--points", type=Path, required=True, help="folder of mnist.npz")
    parser.add_argument("--table", type=Path, required=True, help="the result, CSV")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--only", type=int, help="run the task of this number here and print its row")
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps(measured(TASKS[options.only], options.points, options.threads)))
        return
    command = [sys.executable, __file__, "--points", options.points, "--table", options.table]
    command += ["--threads", str(options.threads)]
    rows = []
    for n in range(len(TASKS)):
        run = subprocess.run([*command, "--only", str(n)], stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(run.stdout))
    files.write_table(options.table, pd.DataFrame(rows))


def measured(task: Task, points: Path, threads: int) -> dict[str, Any]:
    processor.prepare(threads)
    split = data.load(points / "mnist.npz")
    model, params = trained(task, split)
    started = time.perf_counter()
    for n, levels in enumerate((split.train[: task.n_train], split.test[: task.n_test])):
        if len(levels):
            x = to_unit(torch.from_numpy(levels), split.scale)
            task.estimator(model, params, x, [stream(CPU, 0, "evidence", n)], **task.settings)
    seconds = time.perf_counter() - started
    n_points = task.n_train + task.n_test
    return {
        "workload": task.name,
        "n_hidden": task.n_hidden,
        "n_latent": task.n_latent,
        "n_points": n_points,
        "threads": threads,
        "seconds": seconds,
        "limit_seconds": task.limit,
        "seconds_per_point": seconds / n_points,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def trained(task: Task, split: data.Split) -> tuple[Model, Params]:
    """A model of MNIST after TRAINING blocks of AEVB."""
    workload = Workload("mnist", "aevb", task.n_hidden, task.n_latent, contestants=())
    trainer = suite.stack(workload, split, 1, CPU)
    for block in range(TRAINING):
        trainer.train_block(block)
    return models.build(split.train.shape[1], task.n_hidden, task.n_latent, None), trainer.state.params


if __name__ == "__main__":
    main()
