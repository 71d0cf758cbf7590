"""Mixtures of Gaussians with full covariances, one per model and data point, fitted to its own posterior draws.

Posteriors of trained decoders have several modes or bend for one point in ten; a single Gaussian then lies mostly
where the posterior is not. The fit is expectation-maximisation from centres chosen as in k-means++, each covariance
drawn towards the mean one as if by N_z + 2 more draws.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from aevb.distributions import LOG_2PI

ITERATIONS = 15
RIDGE = 1e-5  # of the draws' own variance, added to every covariance
SMALLEST_VARIANCE = 1e-12  # of draws that are all the same


class Mixture(NamedTuple):
    """K components for each of M models and B points."""

    log_weight: Tensor  # (M, B, K)
    mean: Tensor  # (M, B, K, N_z)
    root: Tensor  # (M, B, K, N_z, N_z), Cholesky factor of a component's covariance
    whiten: Tensor  # its inverse

    def log_prob(self, z: Tensor) -> Tensor:
        """z (L, M, B, N_z) -> (L, M, B)."""
        return torch.logsumexp(self.log_terms(z), -1)

    def log_terms(self, z: Tensor) -> Tensor:
        """log weight times density of every component: (L, M, B, N_z) -> (L, M, B, K)."""
        n = z.shape[-1]
        standardised = torch.einsum("mbkij,lmbkj->lmbki", self.whiten, z.unsqueeze(-2) - self.mean)
        log_volume = self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * n * LOG_2PI
        return self.log_weight - log_volume - 0.5 * standardised.square().sum(-1)

    def sample(self, eps: Tensor, u: Tensor) -> Tensor:
        """Draws from eps ~ N(0, I) (L, M, B, N_z) and u ~ U(0, 1) (L, M, B), which chooses the component."""
        reached = self.log_weight.exp().cumsum(-1) < u.unsqueeze(-1)
        k = reached.sum(-1).clamp(max=self.log_weight.shape[-1] - 1)
        m, b = torch.meshgrid(
            torch.arange(u.shape[1], device=u.device),
            torch.arange(u.shape[2], device=u.device),
            indexing="ij",
        )
        return self.mean[m, b, k] + torch.einsum("lmbij,lmbj->lmbi", self.root[m, b, k], eps)

    def scaled(self, factor: float) -> "Mixture":
        """Every component's covariance times `factor`."""
        width = math.sqrt(factor)
        return self._replace(root=self.root * width, whiten=self.whiten / width)


def fit(z: Tensor, k: int, generators: list[torch.Generator]) -> Mixture:
    """k components for draws z (L, M, B, N_z); generators: one per model, for the first centres."""
    z = z.double()
    variance = z.var(0) + SMALLEST_VARIANCE
    share = _first_shares(z / variance.sqrt(), k, generators)
    for _ in range(ITERATIONS):
        mixture = _maximise(z, share, variance)
        share = torch.softmax(mixture.log_terms(z), -1)
    return _maximise(z, share, variance)


def _maximise(z: Tensor, share: Tensor, variance: Tensor) -> Mixture:
    """The M-step: share (L, M, B, K) of each draw in each component, variance (M, B, N_z) of all draws."""
    n_draws, n_latent = len(z), z.shape[-1]
    count = share.sum(0) + 1e-6  # a component that lost its draws keeps a place, with the mean covariance
    mean = torch.einsum("lmbk,lmbi->mbki", share, z) / count.unsqueeze(-1)
    centred = z.unsqueeze(-2) - mean
    scatter = torch.einsum("lmbk,lmbki,lmbkj->mbkij", share, centred, centred)
    within = scatter.sum(2, keepdim=True) / n_draws
    prior_count = n_latent + 2
    covariance = (scatter + prior_count * within) / (count + prior_count)[..., None, None]
    root = torch.linalg.cholesky(covariance + RIDGE * torch.diag_embed(variance).unsqueeze(2))
    return Mixture((count / count.sum(-1, keepdim=True)).log(), mean, root, torch.linalg.inv(root))


def _first_shares(z: Tensor, k: int, generators: list[torch.Generator]) -> Tensor:
    """Soft membership of k centres, each drawn with odds of its squared distance to the nearest one before."""
    u = torch.stack([torch.rand(k, z.shape[2], generator=g, device=g.device) for g in generators], 1)
    odds = torch.ones_like(z[..., 0])
    squared: list[Tensor] = []
    for one in u.to(z.dtype):
        reached = (odds / odds.sum(0)).cumsum(0) < one
        chosen = reached.sum(0).clamp(max=len(z) - 1)
        centre = torch.take_along_dim(z, chosen[None, ..., None], 0)
        squared.append((z - centre).square().sum(-1))
        odds = torch.stack(squared).amin(0) + SMALLEST_VARIANCE
    return torch.softmax(-2 * torch.stack(squared, -1), -1)
