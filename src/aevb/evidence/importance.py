"""Importance sampling of the marginal likelihood, as in the importance weighted autoencoder (Burda et al. 2016).

    log p(x) ~ log 1/K sum_k p(z_k) p(x | z_k) / q(z_k),    z_k ~ q,

too low in expectation whatever q is, by about Var(w) / 2K for weights of mean one; K = 1 gives the ELBO. q is the
encoder; for a method without one, a mixture of Gaussians fitted to posterior draws, which needs N_z < 5.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from aevb.distributions import Gaussian, standard_normal_log_prob
from aevb.evidence import Evidence, Refusal, diagnostics, in_chunks, mixture, posterior
from aevb.models import Model, Params

DIRECTION = "lower"
DRAWS_TO_FIT = 125  # of each chain, where there is no encoder
COMPONENTS = 3
WIDENING = 2.0  # of the fitted covariances: a weight's variance is finite where q's tails are the heavier
POINTS = 100  # models times data points at a time
ROWS = 2000  # evaluations of the decoder at a time: activations stay in cache

# draws n of z for each model and point, (M, n, B, N_z), and their log q(z | x), (M, n, B)
Proposal = Callable[[int], tuple[Tensor, Tensor]]


def evidence(
    model: Model, params: Params, x: Tensor, generators: list[torch.Generator], draws: int = 5000
) -> Evidence:
    """log p(x) of every point: x (B, D), weights of M models, one generator per model; draws: K.

    Refused where there is no encoder and N_z > 4.
    """
    if not params.phi and model.n_latent > posterior.MAX_LATENT:
        return Evidence.refuse(len(generators), x, Refusal.NO_ENCODER)
    propose = _encoder if params.phi else _fitted

    def estimate(x: Tensor) -> Evidence:
        proposal = propose(model, params, x, generators)
        log_w = _log_weights(model, params, x, len(generators), proposal, draws)
        return diagnostics.of_mean(log_w.unsqueeze(0), 1)

    return in_chunks(x, POINTS // len(generators), estimate)


def elbo(
    model: Model, params: Params, x: Tensor, generators: list[torch.Generator], draws: int = 100
) -> Evidence:
    """The lower bound that AEVB ascends (eq. 6), the mean of the log weights, on the points of the other estimators.

    x (B, D), weights of M models, one generator per model; draws: of z per point. Refused without an encoder.
    """
    if not params.phi:
        return Evidence.refuse(len(generators), x, Refusal.NO_ENCODER)

    def estimate(x: Tensor) -> Evidence:
        proposal = _encoder(model, params, x, generators)
        log_w = _log_weights(model, params, x, len(generators), proposal, draws)
        mean = log_w.mean(0)
        refusal = torch.where(torch.isfinite(mean), Refusal.BOUND, Refusal.NOT_FINITE)
        weights = diagnostics.of_mean(log_w.unsqueeze(0), 1)
        return weights._replace(estimate=mean, std_error=log_w.std(0) / math.sqrt(draws), refusal=refusal)

    return in_chunks(x, POINTS // len(generators), estimate)


@torch.no_grad()
def _log_weights(
    model: Model, params: Params, x: Tensor, n_models: int, proposal: Proposal, draws: int
) -> Tensor:
    """log p(x, z) - log q(z | x) of every draw, (K, M, B)."""
    x = x.expand(n_models, -1, -1)
    parts = []
    for some in torch.arange(draws).split(max(1, ROWS // (n_models * x.shape[1]))):
        z, log_q = proposal(len(some))
        parts.append((model.log_joint(params.theta, x, z).double() - log_q.double()).transpose(0, 1))
    return torch.cat(parts)


def _encoder(model: Model, params: Params, x: Tensor, generators: list[torch.Generator]) -> Proposal:
    mu, log_var = (
        value.unsqueeze(1) for value in model.encode(params.phi, x.expand(len(generators), -1, -1))
    )

    def propose(n: int) -> tuple[Tensor, Tensor]:
        eps = torch.stack([Gaussian.draw_noise(g, (n, len(x), model.n_latent)) for g in generators])
        return Gaussian(mu, log_var).sample(eps), standard_normal_log_prob(eps) - 0.5 * log_var.sum(-1)

    return propose


def _fitted(model: Model, params: Params, x: Tensor, generators: list[torch.Generator]) -> Proposal:
    kept = posterior.draw(model, params, x, generators, DRAWS_TO_FIT)
    q = mixture.fit(kept.z.flatten(0, 1), COMPONENTS, generators).scaled(WIDENING)

    def propose(n: int) -> tuple[Tensor, Tensor]:
        shape = (n, len(x), model.n_latent)
        eps = torch.stack([Gaussian.draw_noise(g, shape) for g in generators], 1).double()
        u = torch.stack([torch.rand(shape[:-1], generator=g, device=g.device) for g in generators], 1)
        z = q.sample(eps, u.double())
        return z.transpose(0, 1).to(x.dtype), q.log_prob(z).transpose(0, 1)

    return propose
