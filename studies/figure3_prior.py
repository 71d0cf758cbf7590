"""Does Figure 3's AEVB owe its lead to how much of the prior on the parameters a minibatch receives?

    python studies/figure3_prior.py POINTS FOLDER > results/reference/figure3_prior.csv
    python studies/figure3_prior.py --page results/reference/figure3_prior.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps the copies of the source, the runs and what was found; what was tried
there is not tried again. The readings are trained on the same seeds, hence from the same initial draws, minibatches
and noise, with the step size that our search takes. One row a run, reading and split: the mean over seeds of log p(x)
on the first 1000 points, as many as in the paper, its paired difference from ours with the standard error, and the
paper's value there, in nats per data point.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import alternatives
import changes
import figure3
import figure3_steps
import pages
from aevb import config, data
from aevb.stack import Member
from aevb.training import Trainer
from figure3_steps import CHOSEN, CPU, SEEDS

ROOT = Path(__file__).parents[1]
OURS = "M/N"  # shares of the prior, N(0, I) on all weights, in a minibatch's objective
SHARES = {
    OURS: alternatives.NOTHING,
    "0.1": alternatives.FULL_PRIOR._replace(new="grads, 0.1)"),
    "1": alternatives.FULL_PRIOR,
    "1 on the encoder": alternatives.FULL_PRIOR_AEVB_ENCODER,
}
POINTS = 1000


class Run(NamedTuple):
    n_train: int
    samples: int


TRIED = (  # with N_train = 1000, M/N is 0.1
    (Run(50_000, 4_000_000), ("0.1", "1", "1 on the encoder")),
    (Run(1000, 4_000_000), ("1",)),
    (Run(50_000, 10_000_000), ("1",)),
)


def read_so(share: str, run: Run, points: Path, folder: Path) -> dict[str, list[float]]:
    """log p(x) of each seed, by split, with a package that gives a minibatch this share of the prior."""
    place = folder / share.replace("/", "-")
    known = place / f"n{run.n_train}-{run.samples}.json"
    if not known.exists():
        source = changes.changed_copy(place, SHARES[share])
        arguments = "--train", json.dumps(run), str(points), str(place / "store")
        known.write_text(json.dumps(changes.printed_with(source, __file__, *arguments)))
    found: dict[str, list[float]] = json.loads(known.read_text())
    return found


def train(run: Run, points: Path, folder: Path) -> dict[str, list[float]]:
    """In a process of its own, which imports the copy. A log p(x) is NaN where a point is refused."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", "aevb", 100, 3, run.n_train)
    trainer = Trainer(cell, data.load(points), CPU, folder)
    members = [Member(seed, CHOSEN) for seed in SEEDS]
    runs = trainer.train(members, run.samples, (run.samples,))
    tensors = [one.store.load_weights(run.samples).tensors for one in runs]
    return figure3_steps.on_both_splits(trainer, tensors, POINTS)


def rows_of(
    run: Run,
    share: str,
    found: dict[str, list[float]],
    ours: dict[str, list[float]],
    comparison: pd.DataFrame,
) -> list[dict[str, Any]]:
    """A row for each split. comparison: the table `paper_comparison`."""
    paper = figure3.curve(comparison, "aevb", run.n_train)["paper"]
    rows = []
    for split, values in found.items():
        difference = np.subtract(values, ours[split])
        rows.append(
            {
                **run._asdict(),
                "share": share,
                "split": split,
                "seeds": len(values),
                "paper": paper[split, run.samples],
                "log_likelihood": np.mean(values),
                "difference": difference.mean(),
                "std_error": difference.std(ddof=1) / len(values) ** 0.5,
            }
        )
    return rows


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a run and share, train and test side by side."""
    lines = [
        "| N_train | samples | share | train: paper | so read | difference | test: paper | so read | difference |",
        "|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (n_train, samples, share), rows in table.groupby([*Run._fields, "share"], sort=False):
        by_split = rows.set_index("split")
        sides = " | ".join(_side(by_split.loc[split]) for split in ("train", "test"))
        lines.append(f"| {n_train} | {samples / 1e6:.0f} M | {share} | {sides} |")
    return "\n".join(lines)


def _side(row: pd.Series) -> str:
    difference = "–" if row["share"] == OURS else f"{row['difference']:+.1f} ({row['std_error']:.1f})"
    return f"{row['paper']:.1f} | {row['log_likelihood']:.1f} | {difference}"


def main(points: Path, folder: Path) -> None:
    comparison = figure3.kept()
    rows = []
    for run, shares in TRIED:
        ours = read_so(OURS, run, points, folder)
        for share in (OURS, *shares):
            rows += rows_of(run, share, read_so(share, run, points, folder), ours, comparison)
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, float_format="%.4f")


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(Run(*json.loads(sys.argv[2])), *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("prior", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
