"""How far does the step size move Figure 3's AEVB, N_train = 50 000? Our search takes 0.1; the paper does not say.

    python studies/figure3_steps.py POINTS FOLDER > results/reference/figure3_steps.csv
    python studies/figure3_steps.py --page results/reference/figure3_steps.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps the runs. The paper's three step sizes are trained side by side on the
same seeds, hence from the same initial draws, minibatches and noise. One row a step size and split, after SAMPLES
training samples: the mean over seeds of the bound and of log p(x) on the first 250 points, and their paired
differences from CHOSEN with standard errors, in nats per data point.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import chains
import pages
from aevb import config, data, models
from aevb.bounds import to_unit
from aevb.stack import Member
from aevb.streams import stream
from aevb.training import Trainer

ROOT = Path(__file__).parents[1]
CHOSEN, STEP_SIZES, SEEDS = 0.1, (0.01, 0.02, 0.1), (0, 1, 2)
SAMPLES, POINTS = 4_000_000, 250
CPU = torch.device("cpu")


def log_likelihood(trainer: Trainer, tensors: list[Any], levels: np.ndarray) -> Tensor:
    """Mean log p(x) of each model over points (B, D), (M,); NaN where a point is refused."""
    params = models.stack_weights(tensors, CPU)
    x = to_unit(torch.from_numpy(levels), trainer.data.scale)
    generators = [stream(CPU, m, "certified") for m in range(len(tensors))]
    return chains.certified(trainer.model, params, x, generators).mean(1)


def on_both_splits(trainer: Trainer, tensors: list[Any], n_points: int) -> dict[str, list[float]]:
    """`log_likelihood` of the first n_points training and test points, by split."""
    return {
        split: log_likelihood(trainer, tensors, levels[:n_points]).tolist()
        for split, levels in (("train", trainer.data.train), ("test", trainer.data.test))
    }


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a step size, train and test side by side."""
    lines = [
        "| step size | train: bound | log p(x) | difference | test: bound | log p(x) | difference |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for step_size, rows in table.groupby("step_size"):
        by_split = rows.set_index("split")
        sides = " | ".join(_side(by_split.loc[split]) for split in ("train", "test"))
        lines.append(f"| {step_size:g} | {sides} |")
    return "\n".join(lines)


def _side(row: pd.Series) -> str:
    difference = f"{row['log_likelihood_difference']:+.1f} ({row['log_likelihood_std_error']:.1f})"
    chosen = row["step_size"] == CHOSEN
    return f"{row['bound']:.1f} | {row['log_likelihood']:.1f} | {'–' if chosen else difference}"


def main(points: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    split = data.load(points)
    cell = config.read(ROOT / "config.yaml").cell("mnist", "aevb", 100, 3, 50_000)
    trainer = Trainer(cell, split, CPU, folder)
    members = [Member(seed, step_size) for step_size in STEP_SIZES for seed in SEEDS]
    runs = trainer.train(members, SAMPLES, (SAMPLES,))
    kept = [run.store.load_weights(SAMPLES) for run in runs]
    rows = []
    for name, levels in (("train", split.train), ("test", split.test)):
        values = {
            "bound": [[row["bound"] for row in run.trace.rows if row["split"] == name][-1] for run in runs],
            "log_likelihood": log_likelihood(
                trainer, [record.tensors for record in kept], levels[:POINTS]
            ).tolist(),
        }
        for n, step_size in enumerate(STEP_SIZES):
            row: dict[str, Any] = {
                "step_size": step_size,
                "samples": SAMPLES,
                "split": name,
                "seeds": len(SEEDS),
            }
            for quantity, found in values.items():
                by_step = np.reshape(found, (len(STEP_SIZES), len(SEEDS)))
                difference = by_step[n] - by_step[STEP_SIZES.index(CHOSEN)]
                row |= {
                    quantity: by_step[n].mean(),
                    f"{quantity}_difference": difference.mean(),
                    f"{quantity}_std_error": difference.std(ddof=1) / len(SEEDS) ** 0.5,
                }
            rows.append(row)
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, float_format="%.4f")


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("steps", page, *sys.argv[2:])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
