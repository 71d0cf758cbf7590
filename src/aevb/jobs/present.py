"""Jobs that present: tables, figures, the README. Files in, files out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from aevb import data, figures, generation, models, store, tables
from aevb.curves import select
from aevb.experiments import Cell
from aevb.streams import stream

CPU = torch.device("cpu")


def bounds(runs: list[Path], output: Path, final: Path) -> None:
    """bounds.csv, every curve.csv beside the given cell.json files, and its last point of each run."""
    frames = []
    for path in runs:
        cell = json.loads(path.read_text())
        identity = {name: cell[name] for name in (*Cell.IDENTITY, "seed")}
        frames.append(pd.read_csv(path.with_name("curve.csv")).assign(**identity))
    frame = pd.concat(frames, ignore_index=True)
    columns = [*Cell.IDENTITY, "seed", "split", "samples", "bound", "seconds"]
    last = frame.groupby([*Cell.IDENTITY, "seed", "split"], sort=False).tail(1)
    store.write_text(output, frame[columns].to_csv(index=False))
    store.write_text(final, last[columns].to_csv(index=False))


def concatenate(inputs: list[Path], output: Path) -> None:
    """One table from several with the same columns."""
    frame = pd.concat([pd.read_csv(path) for path in inputs], ignore_index=True)
    store.write_text(output, frame.to_csv(index=False))


def costs(runs: list[Path], output: Path, provenance: Path) -> None:
    """What each run cost, and what all of them depended on."""
    cells = [json.loads(path.read_text()) for path in runs]
    store.write_text(output, tables.costs(cells).to_csv(index=False))
    store.write_text(provenance, tables.provenance(cells).to_csv(index=False))


def paper_comparison(
    bounds: Path, marginal: Path, paper: Path, figure2: list[Cell], figure3: list[Cell], output: Path
) -> None:
    """Our curves beside the paper's at our report points."""
    frame = tables.paper_comparison(
        select(pd.read_csv(bounds), figure2), select(pd.read_csv(marginal), figure3), pd.read_csv(paper)
    )
    store.write_text(output, frame.to_csv(index=False))


def figure2(bounds: Path, paper: Path, cells: list[Cell], output: Path) -> None:
    figures.save(figures.figure2(select(pd.read_csv(bounds), cells), pd.read_csv(paper)), output)


def figure3(marginal: Path, paper: Path, cells: list[Cell], output: Path) -> None:
    figures.save(figures.figure3(select(pd.read_csv(marginal), cells), pd.read_csv(paper)), output)


def figure4(weights: list[Path], points: list[Path], cells: list[Cell], output: Path) -> None:
    """weights, points and cells run in parallel: a model of two latent dimensions per dataset."""
    manifolds: dict[str, NDArray[np.float64]] = {}
    for path, split_path, cell in zip(weights, points, cells, strict=True):
        split = data.load(split_path)
        theta = models.stack_weights([store.read_weights(path).tensors], CPU).theta
        side = 10 if cell.dataset == "frey" else 20
        means = generation.manifold(models.build(split.train.shape[1], **cell.model_sizes), theta, side)
        manifolds[cell.dataset] = means.reshape(side, side, *split.image_shape)
    figures.save(figures.figure4(manifolds), output)


def figure5(weights: list[Path], points: list[Path], cells: list[Cell], output: Path) -> None:
    """weights, points and cells run in parallel, one N_z each."""
    samples: dict[int, NDArray[np.float64]] = {}
    for path, split_path, cell in zip(weights, points, cells, strict=True):
        split = data.load(split_path)
        theta = models.stack_weights([store.read_weights(path).tensors], CPU).theta
        model = models.build(split.train.shape[1], **cell.model_sizes)
        means = generation.random_samples(model, theta, 100, stream(CPU, 0, "figure5"))
        samples[cell.n_latent] = means.reshape(100, *split.image_shape)
    figures.save(figures.figure5(samples), output)


def html(table: Path, output: Path) -> None:
    """A table of the report."""
    title = table.stem.replace("_", " ").capitalize()
    store.write_text(
        output, tables.to_html(pd.read_csv(table), title, f"Source: results/tables/{table.name}")
    )


def readme(comparison: Path, scale: str, reference: Path, readme: Path, output: Path) -> None:
    """Put the comparison with the paper into the README, and keep the numbers it came from."""
    frame = pd.read_csv(comparison)
    store.write_text(reference, frame.to_csv(index=False))
    block = tables.readme_block(frame, scale)
    store.write_text(readme, tables.insert_between_markers(readme.read_text(), "paper-comparison", block))
    store.write_text(output, block)
