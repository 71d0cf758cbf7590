"""Step time of stacked models beside the least that memory and arithmetic allow: `python benchmarks/stacks.py ...`.

On a GPU, where seeds share a stack, this is how fast the whole budget goes. The floor of a step is the larger of

    operations / the rate of one large matrix product,    bytes / the rate of one large copy,

both rates measured on the same device in the same run. (The weights of a few models fit into the cache of a large
GPU, which then may be faster than its memory.) The bytes are those that no fusion could save: each weight and
its sum of squared gradients read and written once, and the minibatch read.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from aevb import data, files, processor, trees
from aevb.engine import Engine
from contestants import floor, suite
from workloads import WORKLOADS, Workload

STACKS = {"cuda": (1, 5, 20), "cpu": (1, 5)}
REPEATS = 7
FLOAT = 4  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/stacks.py", description=__doc__)
    parser.add_argument("--points", type=Path, required=True, help="folder of mnist.npz and frey.npz")
    parser.add_argument("--table", type=Path, required=True, help="the result, CSV")
    options = parser.parse_args()
    processor.prepare(threads=1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    flops_per_second, bytes_per_second = product_rate(device), copy_rate(device)
    rows = []
    for workload in (workload for workload in WORKLOADS if workload.task == "training"):
        split = data.load(options.points / f"{workload.dataset}.npz")
        for n_models in STACKS[device.type]:
            stack = suite.stack(workload, split, n_models, device)
            flops, moved = least(workload, split, stack)
            floor_us = 1e6 * max(flops / flops_per_second, moved / bytes_per_second)
            rows.append(
                {"dataset": workload.dataset, "estimator": workload.estimator, "models": n_models}
                | step_times(stack, device)
                | {"flops": flops, "bytes": moved, "floor_us": floor_us}
            )
    table = pd.DataFrame(rows).assign(
        share_of_floor=lambda rows: rows["floor_us"] / rows["median_us"],
        tflops_per_second=flops_per_second / 1e12,
        gigabytes_per_second=bytes_per_second / 1e9,
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu, one thread",
    )
    files.write_table(options.table, table)


def least(workload: Workload, split: data.Split, stack: Engine) -> tuple[int, int]:
    """Operations of a step's products, and bytes that it has to move."""
    n_models = len(stack.seeds)
    weights = sum(w.numel() for w in trees.leaves(stack.state.params).values())
    points = n_models * workload.batch_size * split.train.shape[1]
    return n_models * floor.flops(workload, split.train.shape[1]), FLOAT * (4 * weights + points)


def step_times(stack: Engine, device: torch.device) -> dict[str, Any]:
    """Microseconds of a step, from whole blocks with the wait for their end."""
    blocks = itertools.count()
    times = [
        1e6 * seconds / suite.BLOCK for seconds in timed(lambda: stack.train_block(next(blocks)), device)
    ]
    return {"median_us": statistics.median(times), "low_us": min(times), "high_us": max(times)}


def product_rate(device: torch.device) -> float:
    """Operations per second of a large matrix product in single precision."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    return 2 * n**3 / min(timed(lambda: a @ b, device))


def copy_rate(device: torch.device) -> float:
    """Bytes per second, read and written, of a copy that no cache holds."""
    a = torch.zeros(2**28, device=device)
    b = torch.ones_like(a)
    return 2 * FLOAT * a.numel() / min(timed(lambda: b.copy_(a), device))


def timed(work: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds of each of REPEATS calls, after one that is not counted."""
    work_and_wait(work, device)
    return [work_and_wait(work, device) for _ in range(REPEATS)]


def work_and_wait(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
