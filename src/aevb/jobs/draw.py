"""Jobs that draw the figures. Files in, files out."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from aevb import contests, data, drawing, figures, forest, galleries, generation, models, store, variances
from aevb import distances as paper_distances
from aevb.curves import select
from aevb.experiments import Cell
from aevb.files import read_tables
from aevb.streams import stream

CPU = torch.device("cpu")


def figure2(bounds: Path, paper: Path, cells: list[Cell], output: Path) -> None:
    drawing.save(figures.figure2(select(pd.read_csv(bounds), cells), pd.read_csv(paper)), output)


def figure3(marginal: list[Path], paper: Path, cells: list[Cell], output: Path) -> None:
    """marginal: evidence.csv of each cell."""
    drawing.save(figures.figure3(select(read_tables(marginal), cells), pd.read_csv(paper)), output)


def distances(comparison: Path, output: Path) -> None:
    drawing.save(paper_distances.distances(pd.read_csv(comparison)), output)


def figure4(weights: list[Path], points: list[Path], cells: list[Cell], output: Path) -> None:
    """weights, points and cells run in parallel: a model of two latent dimensions per dataset."""
    manifolds: dict[str, NDArray[np.float64]] = {}
    for path, split_path, cell in zip(weights, points, cells, strict=True):
        split = data.load(split_path)
        theta = models.stack_weights([store.read_weights(path).tensors], CPU).theta
        side = 10 if cell.dataset == "frey" else 20
        means = generation.manifold(models.build(split.train.shape[1], **cell.model_sizes), theta, side)
        manifolds[cell.dataset] = means.reshape(side, side, *split.image_shape)
    drawing.save(galleries.figure4(manifolds), output)


def figure5(weights: list[Path], points: list[Path], cells: list[Cell], output: Path) -> None:
    """weights, points and cells run in parallel, one N_z each."""
    samples: dict[tuple[str, int], NDArray[np.float64]] = {}
    for path, split_path, cell in zip(weights, points, cells, strict=True):
        split = data.load(split_path)
        theta = models.stack_weights([store.read_weights(path).tensors], CPU).theta
        model = models.build(split.train.shape[1], **cell.model_sizes)
        means = generation.random_samples(model, theta, 100, stream(CPU, 0, "figure5"))
        samples[cell.dataset, cell.n_latent] = means.reshape(100, *split.image_shape)
    drawing.save(galleries.figure5(samples), output)


def certification_figure(certification: Path, output: Path) -> None:
    drawing.save(forest.certification(pd.read_csv(certification)), output)


def comparison_figures(curves: Path, comparison: Path, folder: Path) -> None:
    """comparison_curves and comparison_forest in `folder`."""
    drawing.save(contests.curves(pd.read_csv(curves)), folder / "comparison_curves")
    drawing.save(contests.forest(pd.read_csv(comparison)), folder / "comparison_forest")


def gradient_figure(gradients: Path, output: Path) -> None:
    drawing.save(variances.gradient_variance(pd.read_csv(gradients)), output)
