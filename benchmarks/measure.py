"""Rounds: every contestant in turn runs for about the same time while all others wait; rows come out.

On a shared machine speed drifts by tens of percent within minutes. Contestants of one round are neighbours in time,
so the ratio of two of them within a round is steadier than either; the order rotates lest one always be first.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import contestants
from aevb import UserError
from workloads import Workload

PAUSE = 0.3  # seconds between turns: thread pools spin for a while after their last task
LINEAR = "linear"  # n times one copy alone: what n independent cells would reach at best

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

Row = dict[str, Any]


class Protocol(NamedTuple):
    points: Path  # folder of {dataset}.npz
    rounds: int
    seconds: float  # that one turn takes, about
    log: Callable[[str], None]


class Turn(NamedTuple):
    steps: int
    seconds: float
    value: float

    @property
    def speed(self) -> float:
        return self.steps / self.seconds


class Worker:
    """A contestant's process, after its first step and a calibration of how many steps fill a turn."""

    def __init__(
        self, name: str, workload: Workload, cores: list[int], protocol: Protocol, one_thread: bool
    ) -> None:
        self.name = name
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115, closed by close
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), name]
        arguments = [json.dumps(asdict(workload)), str(protocol.points), json.dumps(cores)]
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(one_thread),
        )
        first = self.turn(1)
        until_first = time.perf_counter() - started
        turn = self.turn(1)
        while turn.seconds < protocol.seconds / 4:
            turn = self.turn(2 * turn.steps)
        self.steps = max(1, round(protocol.seconds * turn.speed))
        # a contestant that goes in blocks has done more than one step by then
        self.startup = until_first - (first.steps - 1) / turn.speed

    def turn(self, steps: int) -> Turn:
        self.ask(steps)
        return self.answer()

    def ask(self, steps: int) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; `answer` says why

    def answer(self) -> Turn:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = "".join(self.errors.readlines()[-15:])
            raise UserError(f"The benchmark's contestant {self.name!r} stopped. Its last words:\n{last}")
        return Turn(*json.loads(line))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def environment(one_thread: bool) -> dict[str, str]:
    """One thread for every library, or each library's own choice; no GPU, which only some of them would take."""
    inherited = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    on_cpu = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    one = {**dict.fromkeys(THREAD_VARIABLES, "1"), "XLA_FLAGS": XLA_ONE_THREAD}
    return inherited | on_cpu | (one if one_thread else {})


def available_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def side_by_side(workload: Workload, cores: list[int], protocol: Protocol) -> list[Row]:
    """Every contestant of the workload on these cores; on one core with one thread."""
    mode = "one_core" if len(cores) == 1 else "all_cores"
    names = list(workload.contestants)
    rows = []
    with _workers(names, workload, [cores] * len(names), protocol, one_thread=len(cores) == 1) as workers:
        for n in range(protocol.rounds):
            first = n % len(workers)
            for worker in workers[first:] + workers[:first]:
                time.sleep(PAUSE)
                turns = [worker.turn(worker.steps)]
                rows.append(_row(workload, mode, len(cores), worker.name, n, turns, worker.startup))
    return rows


def cells(workload: Workload, cores: list[int], protocol: Protocol) -> list[Row]:
    """A pinned copy of the suite on each core, all at the same time, beside n times one copy alone."""
    rows = []
    names = ["suite"] * len(cores)
    with _workers(names, workload, [[core] for core in cores], protocol, one_thread=True) as workers:
        steps = workers[0].steps
        for n in range(protocol.rounds):
            time.sleep(PAUSE)
            alone = workers[n % len(workers)].turn(steps)
            time.sleep(PAUSE)
            for worker in workers:
                worker.ask(steps)
            together = [worker.answer() for worker in workers]
            for name, turns in {"suite": together, LINEAR: [alone] * len(workers)}.items():
                rows.append(_row(workload, "cells", len(cores), name, n, turns, workers[0].startup))
    return rows


def _row(
    workload: Workload, mode: str, cores: int, name: str, n: int, turns: list[Turn], startup: float
) -> Row:
    """One contestant's round; `turns` are those of its copies, whose throughputs add up."""
    return {
        "task": workload.task,
        "dataset": workload.dataset,
        "estimator": workload.estimator,
        "mode": mode,
        "cores": cores,
        "contestant": name,
        "version": contestants.version("suite" if name == LINEAR else name),
        "round": n,
        "steps": sum(turn.steps for turn in turns),
        "seconds": max(turn.seconds for turn in turns),
        "value": mean(turn.value for turn in turns),
        "unit": workload.unit,
        "throughput": sum(turn.speed for turn in turns) * workload.units_per_step,
        "startup_seconds": startup,
    }


@contextmanager
def _workers(
    names: list[str], workload: Workload, cores: list[list[int]], protocol: Protocol, one_thread: bool
) -> Iterator[list[Worker]]:
    """The workers, started one after the other; each is closed in the end."""
    with ExitStack() as stack:
        workers = []
        for name, own in zip(names, cores, strict=True):
            worker = Worker(name, workload, own, protocol, one_thread)
            stack.callback(worker.close)
            protocol.log(
                f"  {name} on core {own}: first step after {worker.startup:.1f} s, {worker.steps} a turn"
            )
            workers.append(worker)
        yield workers
