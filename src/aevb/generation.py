"""What a trained decoder shows: the learned manifold (Fig. 4) and random samples (Fig. 5), as means of p(x | z)."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from aevb import UserError
from aevb.models import Model, Weights


def manifold(model: Model, theta: Weights, side: int) -> NDArray[np.float64]:
    """The mean of p(x | z) on a grid of the unit square sent through the inverse Gaussian CDF.

    theta: one model, M = 1. Returns (side, side, D); the first latent runs along a row (Appendix A).

    Raises UserError unless N_z = 2.
    """
    if model.n_latent != 2:
        raise UserError(f"Figure 4 draws a model with 2 latent dimensions, not {model.n_latent}.")
    ticks = norm.ppf((np.arange(side) + 0.5) / side)
    grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    return _mean(model, theta, torch.from_numpy(grid)).reshape(side, side, -1)


def random_samples(model: Model, theta: Weights, n: int, generator: torch.Generator) -> NDArray[np.float64]:
    """The mean of p(x | z) for n draws of z ~ p(z): (n, D)."""
    return _mean(model, theta, torch.randn(n, model.n_latent, generator=generator))


def _mean(model: Model, theta: Weights, z: torch.Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        dtype = next(iter(theta.values())).dtype
        mean = model.decode(theta, z.to(dtype)[None, None]).mean
    return mean[0, 0].double().numpy()
