"""Does the factor in the authors' library take wake-sleep on MNIST where the paper's curves go?

    python studies/wake_sleep_scaled.py POINTS FOLDER > results/reference/wake_sleep_scaled.csv
    python studies/wake_sleep_scaled.py --page results/reference/wake_sleep_scaled.csv docs/deviations.md

POINTS: results/data/mnist.npz. FOLDER keeps the copy of the source and the runs; what is trained there is not trained
again. The factor, of 0.1 on the recognition model's log-variance, is put alone into the source and trained on a seed
of which a run of ours is kept: the same initial draws, minibatches and noise. The csv has the bounds along training,
in nats per data point.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch

import alternatives
import changes
import figure2
import pages
from aevb import config, data
from aevb.training import Member, Trainer
from figure2_long import interpolated, line, reported

ROOT = Path(__file__).parents[1]
METHOD, SEED, WORKERS = "wake_sleep", 1, 2
RUNS = ((5, 10_000_000), (10, 4_000_000), (20, 10_000_000))  # N_z and samples
SHOWN = (500_000, 1_000_000, 2_000_000, 4_000_000, 10_000_000)  # report points
COLUMNS = ["n_latent", "split", "samples", "nats"]


def main(points: Path, folder: Path) -> None:
    source = changes.changed_copy(alternatives.SCALED, folder)

    def trained(run: tuple[int, int]) -> list[list[float | str]]:
        arguments = "--train", json.dumps(run), str(points), str(folder / "store")
        found: list[list[float | str]] = changes.printed_with(source, __file__, *arguments)
        return found

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = [row for found in pool.map(trained, RUNS) for row in found]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


def train(n_latent: int, samples: int, points: Path, folder: Path) -> list[list[float | str]]:
    """In a process of its own, which imports the copy."""
    torch.set_num_threads(1)
    cell = config.read(ROOT / "config.yaml").cell("mnist", METHOD, 500, n_latent, 50_000)
    trainer = Trainer(cell, data.load(points), torch.device("cpu"), folder)
    [run] = trainer.train([Member(SEED, alternatives.SLEEPY_MNIST.step_size)], samples)
    return [[n_latent, *row] for row in figure2.drawn(run.trace.rows)]


# ------------------------------------------------------------------------------------------------- the page


def lines(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Of each panel the paper's values, and ours and so read less the paper's, at SHOWN. ours, paper: as
    figure2.ours_and_papers gives them."""
    yield f"| N_z | train / test | {' | '.join(f'{samples / 1e6:g} M' for samples in SHOWN)} |"
    yield f"|--:|---|{len(SHOWN) * '--:|'}"
    ours, paper = ours[ours["seed"] == SEED], paper[paper["figure"] == 2]
    for n_latent, so_read in table.groupby("n_latent"):
        mine, theirs = (
            rows[(rows["dataset"] == "mnist") & (rows["method"] == METHOD) & (rows["n_latent"] == n_latent)]
            for rows in (ours, paper)
        )
        values = interpolated(theirs, SHOWN)
        yield line(n_latent, "the paper", values, "{:.1f}")
        for name, rows in (("as we read it", mine), ("log-variance times 0.1", so_read)):
            yield line(n_latent, f"{name}, less the paper", reported(rows, SHOWN) - values, "{:+.1f}")


def page(table: pd.DataFrame) -> str:
    return "\n".join(lines(table, *figure2.ours_and_papers()))


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(*json.loads(sys.argv[2]), *map(Path, sys.argv[3:]))))
    elif sys.argv[1] == "--page":
        pages.show("scaled", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
