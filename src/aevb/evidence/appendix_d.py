"""The paper's estimator of the marginal likelihood (Appendix D).

    1/p(x) ~ 1/L sum_l q(z_l) / (p(z_l) p(x | z_l)),    z_l ~ p(z | x) by HMC,

with a density q fitted to other posterior draws than those it is evaluated on. q is the authors' choice: per point a
Gaussian kernel density whose bandwidth is Scott's factor times exp((i - 5)/2), i = 0..9, the best on held-out draws.
In expectation log p(x) comes out too high (Jensen), by hundredths of a nat in three dimensions; the paper uses it
below five latent dimensions only, and so do we.
"""

import math

import torch
from torch import Tensor

from aevb import UserError, hmc
from aevb.distributions import Gaussian
from aevb.evidence import Evidence
from aevb.models import Model, Params

MAX_LATENT = 4
CANDIDATES = 500  # prior draws among which a chain's start is chosen
CHUNK = 100  # data points at a time: bounds the memory of the candidates


def evidence(
    model: Model,
    params: Params,
    x: Tensor,
    generators: list[torch.Generator],
    draws: int = 50,
    leapfrogs: int = 4,
    acceptance: float = 0.9,
    warm_up: int = 300,
) -> Evidence:
    """log p(x) of every point: x (B, D), weights of M models, one generator per model.

    draws: posterior draws to fit q, and as many new ones to average over. A chain that never moved, or whose
    weights are not finite, is refused.

    Raises UserError when N_z > 4: the estimator's variance explodes with the dimension.
    """
    if model.n_latent > MAX_LATENT:
        raise UserError(
            f"Appendix D is refused for N_z = {model.n_latent}: it is trusted for at most {MAX_LATENT} latent "
            "dimensions (the paper uses it below 5)."
        )
    parts = []
    for chunk in x.split(CHUNK):
        x_chunk = chunk.expand(len(generators), -1, -1)

        def log_joint(z: Tensor, x: Tensor = x_chunk) -> Tensor:
            return model.log_joint(params.theta, x, z.unsqueeze(1)).squeeze(1)

        start = posterior_start(model, params, x_chunk, generators)
        z, accepted = hmc.sample(log_joint, start, generators, 2 * draws, leapfrogs, acceptance, warm_up)
        with torch.no_grad():
            log_p = torch.stack([log_joint(one) for one in z[draws:]]).double()
        parts.append(reciprocal(z[:draws].double(), z[draws:].double(), log_p, accepted))
    return Evidence(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))


def posterior_start(model: Model, params: Params, x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """A start for each chain, (M, B, N_z): one of CANDIDATES prior draws, chosen with odds p(x | z).

    An approximate posterior draw. From a fixed start a chain can stay in a minor mode, and log p(x) then
    comes out too low by the log of that mode's share (10 nats for an overfitted MCEM decoder).
    """
    n_models, n_points = x.shape[:2]
    shape = (CANDIDATES, 1, model.n_latent)
    z = torch.stack([Gaussian.draw_noise(generator, shape) for generator in generators])
    with torch.no_grad():
        log_odds = torch.cat(
            [
                model.log_likelihood(params.theta, x, some.expand(-1, -1, n_points, -1))
                for some in z.split(CANDIDATES // 10, 1)
            ],
            1,
        )
    u = torch.stack([torch.rand(n_points, generator=g, device=g.device) for g in generators])
    reached = torch.softmax(log_odds.double(), 1).cumsum(1) < u.unsqueeze(1)
    chosen = reached.sum(1).clamp(max=CANDIDATES - 1)
    return z.squeeze(2)[torch.arange(n_models, device=z.device).unsqueeze(-1), chosen]


def reciprocal(fit: Tensor, z: Tensor, log_joint: Tensor, acceptance: Tensor) -> Evidence:
    """The estimate from draws `fit` and `z` (L, M, B, N_z) and log p(x, z) (L, M, B)."""
    log_q, degenerate = kernel_density(fit, z)
    return from_weights(
        log_q - log_joint, acceptance, degenerate | ~_moved(fit, fit.shape[-1]) | ~_moved(z, 1)
    )


def _moved(draws: Tensor, times: int) -> Tensor:
    """Whether each chain (L, M, B, N_z) changed place at least `times` times: (M, B)."""
    return (draws[1:] != draws[:-1]).any(-1).sum(0) >= times


def from_weights(log_w: Tensor, acceptance: Tensor, degenerate: Tensor) -> Evidence:
    """-log mean w, w = q(z)/p(x, z), with its error by the delta method; log_w (L, M, B)."""
    n = len(log_w)
    share = torch.softmax(log_w, 0)
    log_prob = math.log(n) - torch.logsumexp(log_w, 0)
    refused = degenerate | ~torch.isfinite(log_prob)
    relative_variance = ((n * share - 1).square().sum(0) / (n - 1)).clamp(min=0)
    nan = torch.full_like(log_prob, torch.nan)
    return Evidence(
        log_prob=torch.where(refused, nan, log_prob),
        std_error=torch.where(refused, nan, (relative_variance / n).sqrt()),
        acceptance=acceptance,
        ess=1 / share.square().sum(0),
        largest_share=share.amax(0),
        refused=refused,
    )


def kernel_density(fit: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z) (L', M, B) of a Gaussian kernel density on `fit`, and where it is degenerate (M, B).

    The bandwidth is chosen on held-out draws: kernels on the first half of `fit`, scored on the second.
    """
    half = len(fit) // 2
    factors = torch.exp((torch.arange(10, dtype=fit.dtype, device=fit.device) - 5) / 2)
    scores = torch.stack([_log_density(fit[:half], fit[half:], factor)[0].sum(0) for factor in factors])
    best = factors[scores.nan_to_num(nan=-torch.inf).argmax(0)]
    return _log_density(fit, z, best)


def _log_density(centres: Tensor, z: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels with the covariance of the centres times (Scott's factor * factor)^2, as scipy's gaussian_kde."""
    n, d = centres.shape[0], centres.shape[-1]
    centred = centres - centres.mean(0)
    covariance = torch.einsum("smbi,smbj->mbij", centred, centred) / (n - 1)
    root, info = torch.linalg.cholesky_ex(covariance)
    degenerate = info > 0  # torch.linalg.inv would raise for the whole batch
    root = torch.where(degenerate[..., None, None], torch.eye(d, dtype=root.dtype, device=root.device), root)
    width = factor * n ** (-1 / (d + 4))
    whiten = torch.linalg.inv(root) / torch.as_tensor(width)[..., None, None]
    a = torch.einsum("mbij,smbj->smbi", whiten, z)
    b = torch.einsum("mbij,smbj->smbi", whiten, centres)
    squared = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
    log_volume = -torch.logdet(whiten) + 0.5 * d * math.log(2 * math.pi)
    return torch.logsumexp(-0.5 * squared, 1) - math.log(n) - log_volume, degenerate
