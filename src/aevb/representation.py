"""What a learned representation is worth, measured on points it was not fitted to: reconstruction, denoising, use of
its units, classes. They see weights and data, never the method, and need an encoder: phi must not be empty.

The paper claims that the learned model "can be used for a host of tasks such as recognition, denoising,
representation and visualization purposes" (abstract) and measures none of these.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from aevb.distributions import Gaussian
from aevb.models import Model, Params, Weights

MASKED = (
    0.25  # share of a point's pixels set to zero: the middle one of the levels that Vincent et al. 2008 show
)
ACTIVE = 0.01  # variance of a unit's posterior mean over the data above which it is in use: Burda et al. 2016
NEIGHBOURS = 5  # that vote on a point's class: scikit-learn's default
CHUNK = 500  # points at a time: activations stay in cache
SEARCH_CHUNK = 100  # points at a time whose distances to all known points are in memory


class Measured(NamedTuple):
    """A mean over the B points for each of M models and its standard error over points, both (M,)."""

    mean: Tensor
    std_error: Tensor


def over_points(values: Tensor) -> Measured:
    """The mean of values (M, B) over the points."""
    values = values.double()
    return Measured(values.mean(-1), values.std(-1) / math.sqrt(values.shape[-1]))


# ------------------------------------------------------------------------------------------ errors in pixel space


@torch.no_grad()
def encode(model: Model, phi: Weights, x: Tensor) -> Gaussian:
    """q(z | x) of every point by every model: x (B, D) -> parameters (M, B, N_z)."""
    n_models = len(next(iter(phi.values())))
    parts = [model.encode(phi, some.expand(n_models, -1, -1)) for some in x.split(CHUNK)]
    return Gaussian(*(torch.cat(parameter, 1) for parameter in zip(*parts, strict=True)))


@torch.no_grad()
def squared_errors(model: Model, theta: Weights, z: Tensor, x: Tensor) -> Tensor:
    """The squared error per pixel of the mean of p(x | z) as a guess of x: z (M, B, N_z), x (B, D) -> (M, B).

    With z the encoder's mean of x itself this is the error of reconstruction, with that of a corrupted x the error
    of denoising.
    """
    parts = [
        mean_square(model.decode(theta, some.unsqueeze(1)).mean.squeeze(1) - clean)
        for some, clean in zip(z.split(CHUNK, 1), x.split(CHUNK), strict=True)
    ]
    return torch.cat(parts, 1)


def mean_square(residual: Tensor) -> Tensor:
    """The mean over pixels of what is left, squared: (..., D) -> (...)."""
    return residual.square().mean(-1)


@torch.no_grad()
def reconstruction_nats(model: Model, params: Params, x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """-E_q log p(x | z) in nats by one draw of z per point: x (B, D), a generator per model -> (M, B).

    The reconstruction term of the bound (eq. 7) with its sign turned, so that lower is better like every error
    here. The spread over points of a single draw holds the draw's own noise, and so does the standard error.
    """
    shape = (len(x), model.n_latent)
    eps = torch.stack([Gaussian.draw_noise(generator, shape) for generator in generators])
    z = encode(model, params.phi, x).sample(eps).unsqueeze(1)
    parts = [
        -model.log_likelihood(params.theta, clean.expand(len(generators), -1, -1), some).squeeze(1)
        for some, clean in zip(z.split(CHUNK, 2), x.split(CHUNK), strict=True)
    ]
    return torch.cat(parts, 1)


def mask(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """x (B, D) with the same number of pixels of every point, drawn without replacement, set to zero.

    The masking noise of Vincent et al. 2008; share: of the D pixels, in [0, 1].
    """
    u = torch.rand(x.shape, generator=generator, device=x.device)
    return x.scatter(-1, u.topk(round(share * x.shape[-1])).indices, 0)


# --------------------------------------------------------------------------------------------- in latent space


def active_units(means: Tensor) -> Tensor:
    """How many latent units each model uses: encoder means (M, B, N_z) -> (M,).

    A unit is in use when Var_x(E_q[z_u | x]) > ACTIVE; one that ignores x has the prior's mean whatever x is. NaN
    where a mean is not finite.
    """
    variances = means.double().var(1)
    return (variances > ACTIVE).sum(-1).double().where(variances.isfinite().all(-1), torch.nan)


def neighbour_accuracy(known: Tensor, classes: Tensor, points: Tensor, truth: Tensor) -> Measured:
    """The share of points whose class their NEIGHBOURS nearest known points name, with its binomial standard error.

    known (M, N, K) of classes (N,), points (M, B, K) of classes truth (B,). NaN where a coordinate is not finite.
    """
    right = (majority(known, classes, points) == truth).double().mean(-1)
    finite = known.isfinite().all(-1).all(-1) & points.isfinite().all(-1).all(-1)
    share = right.where(finite, torch.nan)
    return Measured(share, (share * (1 - share) / len(truth)).sqrt())


def majority(known: Tensor, classes: Tensor, points: Tensor) -> Tensor:
    """The class that most of the NEIGHBOURS nearest known points have, the smallest one of a tie: (M, B).

    known (M, N, K) of classes (N,), int64 from zero; points (M, B, K). Distances are Euclidean and no coordinate is
    rescaled: the prior N(0, I) has set the scale of the latent ones, and that of an unused unit is near nothing.
    """
    # |t - x|^2 = |x|^2 - 2 (x't - |t|^2 / 2): the nearest t has the largest bracket, and that is one product
    half_squares = -0.5 * known.square().sum(-1).unsqueeze(1)
    voters, kinds = min(NEIGHBOURS, len(classes)), int(classes.max()) + 1
    elected = []
    for some in points.split(SEARCH_CHUNK, 1):
        nearest = torch.baddbmm(half_squares, some, known.mT).topk(voters).indices
        elected.append(one_hot(classes[nearest], kinds).sum(-2).argmax(-1))
    return torch.cat(elected, 1)
