"""What other readings of the paper give in Figure 3 for wake-sleep and Monte Carlo EM, on the way and at the end.

    python studies/figure3_readings.py POINTS FOLDER > results/reference/figure3_readings.csv
    python studies/figure3_readings.py --page results/reference/figure3_readings.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps the copies of the source, the runs and what was found; what was tried
there is not tried again. Each reading is put alone into a copy of the source and trained with the step size that our
search takes or that its name says. One row a run, reading, split and number of samples: log p(x) on the first 1000
points, mean over seeds with its lowest and highest, beside the paper and what is kept of ours, in nats per data
point.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import changes
import figure3
import figure3_steps
import pages
from aevb import config, curves, data
from aevb.stack import Member
from aevb.training import Trainer
from alternatives import AS_PUBLISHED, LOG_VARIANCE
from changes import Change
from figure3_steps import CPU, ROOT

POINTS = 1000
LINE = ["method", "n_train", "reading"]  # what identifies a table's part


class Reading(NamedTuple):
    method: str
    n_train: int
    name: str
    changes: tuple[Change, ...]
    step_size: float
    seeds: tuple[int, ...]
    samples: tuple[int, ...]


PUBLISHED = "recognition model as published"
# as there: up or down by a quarter, for all chains together
COMMON_STEP = Change(
    "estimators/mcem.py",
    "GAIN * (probability - acceptance)",
    "0.223 * (2.0 * (probability.mean(-1, keepdim=True) >= acceptance) - 1.0)",
)
# each of the five updates by 100 points, drawn with digits of u that do not decide what is accepted, and their share
# of the prior; iterations are counted as ours
BY_MINIBATCH = Change(
    "estimators/mcem.py",
    """params, grads, 1.0)
        return params, optimiser_state, total

    def step(state: State, x: Tensor, noise: hmc.Noise) -> tuple[State, Info]:
        z, probability = e_step(state, x, noise)
        log_step = state.log_step + GAIN * (probability - acceptance)
        params, optimiser_state = state.params, state.optimiser
        for _ in range(n_updates):
            params, optimiser_state, total = m_step(params, optimiser_state, x, z)
""",
    """params, grads, x.shape[1] / n_train)
        return params, optimiser_state, total

    def step(state: State, x: Tensor, noise: hmc.Noise) -> tuple[State, Info]:
        z, probability = e_step(state, x, noise)
        log_step = state.log_step + GAIN * (probability - acceptance)
        params, optimiser_state = state.params, state.optimiser
        for rows in (1000 * noise.u[0] % 1).argsort()[: 100 * n_updates].split(100):
            params, optimiser_state, total = m_step(params, optimiser_state, x[:, rows], z[:, rows])
""",
)
LATE = (1_600_000, 4_000_000, 10_000_000, 25_000_000)
EARLY = (630_000, 1_600_000, 4_000_000)


def published(n_train: int, step_size: float, samples: tuple[int, ...]) -> Reading:
    name = f"{PUBLISHED}, step size {step_size:g}"
    return Reading("wake_sleep", n_train, name, AS_PUBLISHED, step_size, (0, 1), samples)


READINGS = (
    Reading("wake_sleep", 1000, "log-variance times 0.1", (LOG_VARIANCE,), 0.02, (0, 1), LATE),
    Reading("wake_sleep", 1000, "step size 0.1", (), 0.1, (0, 1), LATE[:3]),
    Reading(
        "wake_sleep", 1000, "log-variance times 0.1, step size 0.1", (LOG_VARIANCE,), 0.1, (0, 1), LATE[:3]
    ),
    Reading("mcem", 1000, "one leapfrog step for all chains", (COMMON_STEP,), 0.1, (0, 1), EARLY),
    Reading("mcem", 1000, "M-step by minibatches of 100", (BY_MINIBATCH,), 0.1, (0, 1), EARLY),
    published(1000, 0.1, LATE[:3]),
    *(published(50_000, step_size, LATE[1:3]) for step_size in (0.02, 0.1)),
)


def read_so(reading: Reading, points: Path, folder: Path) -> dict[str, list[list[float]]]:
    """log p(x) by split, at each of the reading's samples a list of its seeds'."""
    place = folder / f"{reading.method}-{reading.n_train}-{reading.name.replace(' ', '-')}"
    known = place / "found.json"
    if not known.exists():
        source = changes.changed_copy(place, *reading.changes)
        arguments = str(READINGS.index(reading)), str(points), str(place / "store")
        known.write_text(json.dumps(changes.printed_with(source, __file__, "--train", *arguments)))
    found: dict[str, list[list[float]]] = json.loads(known.read_text())
    return found


def train(reading: Reading, points: Path, folder: Path) -> dict[str, list[list[float]]]:
    """In a process of its own, which imports the copy. A log p(x) is NaN where a point is refused."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", reading.method, 100, 3, reading.n_train)
    trainer = Trainer(cell, data.load(points), CPU, folder)
    members = [Member(seed, reading.step_size) for seed in reading.seeds]
    runs = trainer.train(members, reading.samples[-1], reading.samples)
    found: dict[str, list[list[float]]] = {"train": [], "test": []}
    for samples in reading.samples:
        tensors = [run.store.load_weights(samples).tensors for run in runs]
        for split, values in figure3_steps.on_both_splits(trainer, tensors, POINTS).items():
            found[split].append(values)
    return found


def rows_of(
    reading: Reading, found: dict[str, list[list[float]]], comparison: pd.DataFrame
) -> list[dict[str, Any]]:
    """A row for each split and number of samples. comparison: the table `paper_comparison`."""
    shown = figure3.curve(comparison, reading.method, reading.n_train)
    rows = []
    for split, values in found.items():
        for samples, at in zip(reading.samples, values, strict=True):
            beside = figure3.at(shown, split, samples)
            known = {name: getattr(reading, name) for name in ("method", "n_train")}
            known |= {"reading": reading.name, "split": split, "samples": samples}
            known |= {"paper": beside["paper"], "ours": beside["ours"], "log_likelihood": np.mean(at)}
            rows.append(known | {"low": min(at), "high": max(at), "seeds": len(at)})
    return rows


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a run, reading and number of samples."""
    values = "the paper | ours, less the paper | so read, less the paper"
    lines = [
        f"| run | another reading | samples | train: {values} | test: {values} |",
        f"|---|---|{7 * '--:|'}",
    ]
    for (method, n_train, reading), rows in table.groupby(LINE, sort=False):
        for samples, at in rows.groupby("samples"):
            by_split = at.set_index("split")
            sides = " | ".join(_side(by_split.loc[split]) for split in ("train", "test"))
            run = f"{curves.method_name(method)}, N_train = {n_train}"
            lines.append(f"| {run} | {reading} | {samples / 1e6:.2g} M | {sides} |")
    return "\n".join(lines)


def _side(row: pd.Series) -> str:
    """The paper's value and two differences from it; a dash where a figure has none."""
    less = [row[name] - row["paper"] for name in ("ours", "log_likelihood", "low", "high")]
    known = ["–" if np.isnan(value) else f"{value:+.1f}" for value in less]
    paper = "–" if np.isnan(row["paper"]) else f"{row['paper']:.1f}"
    between = f" ({known[2]} to {known[3]})" if row["seeds"] > 1 and known[2] != "–" else ""
    return f"{paper} | {known[0]} | {known[1]}{between}"


def main(points: Path, folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda reading: read_so(reading, points, folder), READINGS))
    comparison = figure3.kept()
    rows = [
        row for reading, one in zip(READINGS, found, strict=True) for row in rows_of(reading, one, comparison)
    ]
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, float_format="%.4f")


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(READINGS[int(sys.argv[2])], *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("figure3-readings", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
