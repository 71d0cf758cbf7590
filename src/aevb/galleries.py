"""Figures 4 and 5 of the paper: what trained decoders show, tiled."""

from collections.abc import Mapping
from string import ascii_lowercase

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from aevb.datasets import DATASETS, dataset_name
from aevb.drawing import STYLE

GUTTER = 0.12  # between panels whose images have no frame, as a share of a panel's width


def figure4(manifolds: Mapping[str, NDArray[np.floating]]) -> Figure:
    """Figure 4: the learned 2-D manifolds, one tiled image per data set, Frey Face left of MNIST.

    `manifolds[dataset]` is `(G, G, h, w)` in [0, 1]: the mean of p(x | z) at a G x G grid of z, in reading order.
    Frey faces are photographs, larger is brighter; digits are ink, larger is darker, as one prints them.
    """
    order = ["frey", "mnist", *sorted(set(manifolds) - {"frey", "mnist"})]
    shown = [dataset for dataset in order if dataset in manifolds]
    images = [_tiled(manifolds[dataset]) for dataset in shown]
    widths = [image.shape[1] / image.shape[0] for image in images]  # of panels of one height
    with style.context(STYLE):
        figure = Figure(figsize=(4.2 * sum(widths), 4.5), layout="constrained")
        grid = figure.add_gridspec(1, len(shown), width_ratios=widths)
        for column, (dataset, image) in enumerate(zip(shown, images, strict=True)):
            caption = f"({'abcdefgh'[column]}) Learned {dataset_name(dataset)} manifold"
            _image(figure.add_subplot(grid[column]), image, _ink(dataset), caption)
    return figure


def figure5(samples: Mapping[tuple[str, int], NDArray[np.floating]]) -> Figure:
    """Figure 5: random samples of the generative models, one 10 x 10 panel per data set and N_z.

    `samples[dataset, n_latent]` is `(100, h, w)` in [0, 1]: the means of p(x | z) at 100 draws of z from the prior.
    Only the paper's own data set, MNIST, goes unnamed.
    """
    order = sorted(samples, key=lambda key: ([*DATASETS].index(key[0]), key[1]))
    with style.context(STYLE):
        apart = ConstrainedLayoutEngine(wspace=GUTTER)
        figure = Figure(figsize=(2.9 * len(samples), 2.9), layout=apart)
        for column, (dataset, n_latent) in enumerate(order):
            images = samples[dataset, n_latent]
            name = "" if dataset == "mnist" else f"{dataset_name(dataset)}, "
            letter = ascii_lowercase[column] if column < len(ascii_lowercase) else column + 1
            caption = f"({letter}) {name}{n_latent}-D latent space"
            axes = figure.add_subplot(1, len(samples), column + 1)
            _image(axes, _tiled(images.reshape(10, 10, *images.shape[1:])), _ink(dataset), caption)
    return figure


def _ink(dataset: str) -> str:
    return "gray" if dataset == "frey" else "gray_r"


def _tiled(images: NDArray[np.floating]) -> NDArray[np.floating]:
    """`(rows, columns, h, w)` images as one image `(rows * h, columns * w)`."""
    rows, columns, height, width = images.shape
    return images.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def _image(axes: Axes, image: NDArray[np.floating], colours: str, caption: str) -> None:
    """Draw an image with values in [0, 1] without axes, its caption below as in the paper; or say that there is
    none, of a run whose weights are no numbers."""
    axes.imshow(image, cmap=colours, vmin=0, vmax=1)
    if not np.isfinite(image).all():
        axes.text(0.5, 0.5, "diverged", transform=axes.transAxes, ha="center", va="center")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(caption, fontsize=10)
    axes.spines[:].set_visible(False)
