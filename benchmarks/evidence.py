"""What log p(x) costs at the paper's sizes: `python benchmarks/evidence.py ...`.

Each workload runs in a process of its own with --threads threads, from weights to estimates, on a decoder that was
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
from typing import Any

import pandas as pd
import torch

from aevb import data, engine, estimators, files, models, processor, trees
from aevb.bounds import to_unit
from aevb.engine import Minibatches
from aevb.evidence import Evidence, annealed, appendix_d, importance
from aevb.models import Model, Params
from aevb.optimisers import adagrad
from aevb.streams import stream
from workloads import STEP_SIZE

CPU = torch.device("cpu")
TRAINING = 3000  # minibatches
BLOCK = 100

# name: function, hidden units, N_z, training and test points, settings, seconds that it must not exceed
WORKLOADS: dict[str, tuple[Callable[..., Evidence], int, int, int, int, dict[str, int], float]] = {
    "Figure 3, one point of a curve: appendix_d_robust": (
        *(appendix_d.evidence, 100, 3, 1000, 1000),
        *({}, 30.0),
    ),
    "IWAE-5000 on MNIST's test set": (importance.evidence, 500, 20, 0, 10_000, {"draws": 5000}, 600.0),
    "AIS, 500 temperatures, 4 chains": (annealed.evidence, 500, 20, 0, 200, {}, float("nan")),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/evidence.py", description=__doc__)
    parser.add_argument("--points", type=Path, required=True, help="folder of mnist.npz")
    parser.add_argument("--table", type=Path, required=True, help="the result, CSV")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--only", help="run this workload here and print its row")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only, options.points, options.threads)))
        return
    command = [sys.executable, __file__, "--points", options.points, "--table", options.table]
    command += ["--threads", str(options.threads)]
    rows = []
    for name in WORKLOADS:
        run = subprocess.run([*command, "--only", name], stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(run.stdout))
    files.write_table(options.table, pd.DataFrame(rows))


def measured(name: str, points: Path, threads: int) -> dict[str, Any]:
    function, n_hidden, n_latent, n_train, n_test, settings, limit = WORKLOADS[name]
    processor.prepare(threads)
    split = data.load(points / "mnist.npz")
    model, params = trained(split, n_hidden, n_latent)
    levels = [split.train[:n_train], split.test[:n_test]]
    started = time.perf_counter()
    for n, some in enumerate(levels):
        if len(some):
            x = to_unit(torch.from_numpy(some), split.scale)
            function(model, params, x, [stream(CPU, 0, "evidence", n)], **settings)
    seconds = time.perf_counter() - started
    return {
        "workload": name,
        "n_hidden": n_hidden,
        "n_latent": n_latent,
        "n_points": n_train + n_test,
        "threads": threads,
        "seconds": seconds,
        "limit_seconds": limit,
        "seconds_per_point": seconds / (n_train + n_test),
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def trained(split: data.Split, n_hidden: int, n_latent: int) -> tuple[Model, Params]:
    """A model of MNIST after TRAINING minibatches of AEVB."""
    model = models.build(split.train.shape[1], n_hidden, n_latent, None)
    estimator = estimators.load("aevb")(model, adagrad(torch.full((1,), STEP_SIZE)), len(split.train))
    batches = Minibatches(estimator, to_unit(torch.from_numpy(split.train), split.scale), 100)
    state = estimator.init(trees.stack([model.init(stream(CPU, 0, "weights"))]))
    trainer = engine.build(batches, state, [0], BLOCK)
    for block in range(TRAINING // BLOCK):
        trainer.train_block(block)
    return model, trainer.state.params


if __name__ == "__main__":
    main()
