"""Is the paper's test curve of Figure 2 on MNIST one of the validation images, 50 000 to 59 999 of the training file?

    python studies/figure2_validation.py CACHE POINTS RUN... > results/reference/figure2_validation.csv
    python studies/figure2_validation.py --page results/reference/figure2_validation.csv docs/deviations.md

CACHE: the raw files, results/data/raw. POINTS: results/data/mnist.npz. RUN: folders of trained runs, such as
results/runs/mnist/aevb/h500-z3-n50000/seed0. Nobody trains on these images, so they tell as much of a method as the
test set, but the two sets are not equally hard, by an amount that depends on N_z. The csv has the bound of each run's
last weights on sets of images, in nats per data point. `first_5000` of the training images are those of the split
`train` in bounds.csv.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import figure2
import pages
from aevb import curves, data, models, processor, store
from aevb.bounds import mean_elbo
from aevb.experiments import Cell
from aevb.models import Model, Params
from aevb.streams import stream

CPU = torch.device("cpu")
RUN = ["estimator", "n_latent", "seed", "samples"]
PANEL = ["method", "n_latent", "samples"]


def validation_images(cache: Path, train: np.ndarray) -> np.ndarray:
    """The last 10 000 of the 60 000 images of MNIST's training file, of which `train` are the first."""
    [file] = (file for file in data.DATASETS["mnist"].files if file.name.startswith("train"))
    images = data.read_idx(data.fetch(file, cache), (60_000, 28, 28)).reshape(60_000, -1)
    assert np.array_equal(images[: len(train)], train), (
        "POINTS are not the first images of CACHE's training file"
    )
    return images[len(train) :]


def bounds(model: Model, params: Params, sets: dict[str, torch.Tensor], scale: float) -> dict[str, float]:
    """The bound of one model's weights on each set, one draw of z a point."""
    return {
        name: mean_elbo(model, params, points, scale, [stream(CPU, 0, "validation", n)]).item()
        for n, (name, points) in enumerate(sets.items())
    }


def main(cache: Path, points: Path, runs: list[Path]) -> None:
    processor.prepare(1)
    split = data.load(points)
    images = {
        "train": split.train,
        "first_5000": split.train[:5000],
        "test": split.test,
        "validation": validation_images(cache, split.train),
    }
    sets = {name: torch.tensor(levels) for name, levels in images.items()}
    rows = []
    for run in runs:
        certificate = json.loads((run / "cell.json").read_text())
        model = models.build(split.test.shape[1], **Cell.model_validate(certificate["cell"]).model_sizes)
        params = models.stack_weights([store.read_weights(run / "weights.safetensors").tensors], CPU)
        rows.append({name: certificate[name] for name in RUN} | bounds(model, params, sets, split.scale))
    pd.DataFrame(rows).sort_values(RUN).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def panels(table: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """A line a panel and number of samples: PANEL, seeds, three gaps to train: of the paper's test curve, and ours of
    the test set and of the validation images, means over seeds. paper: as results/reference/paper.csv."""
    shown = paper[(paper["figure"] == 2) & (paper["dataset"] == "mnist") & (paper["samples"] > 0)]
    theirs = shown.groupby(["method", "n_latent", "split"])
    rows = []
    for panel, runs in table.rename(columns={"estimator": "method"}).groupby(PANEL):
        *which, samples = panel
        train, test = (
            float(curves.interpolate(theirs.get_group((*which, split)), samples))
            for split in ("train", "test")
        )
        ours = {name: (runs[name] - runs["train"]).mean() for name in ("test", "validation")}
        known = dict(zip(PANEL, panel, strict=True)) | {"seeds": len(runs)}
        rows.append(known | {"paper": test - train} | ours)
    return pd.DataFrame(rows)


def misfit(found: pd.DataFrame) -> pd.Series:
    """Root mean square over panels of what each of our two gaps lacks to the paper's."""
    lacks = found[["test", "validation"]].sub(found["paper"], axis=0)
    return np.sqrt((lacks**2).mean())


def lines(table: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    gaps = "the paper: test less train | ours: test less train | validation less train"
    yield f"| method, N_z | samples | seeds | {gaps} |"
    yield f"|---|{5 * '--:|'}"
    found = panels(table, paper)
    for row in found.itertuples():
        values = " | ".join(f"{gap:+.1f}" for gap in (row.paper, row.test, row.validation))
        panel = f"{curves.method_name(row.method)}, {row.n_latent} | {row.samples / 1e6:g} M | {row.seeds}"
        yield f"| {panel} | {values} |"
    for samples, rows in found.groupby("samples"):
        off = misfit(rows)
        yield (
            f"| differs from the paper by, root mean square | {samples / 1e6:g} M | | | {off['test']:.2f} "
            f"| {off['validation']:.2f} |"
        )


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it."""
    _, paper = figure2.ours_and_papers()
    return "\n".join(lines(table, paper))


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("validation", page, *sys.argv[2:])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(run) for run in sys.argv[3:]])
