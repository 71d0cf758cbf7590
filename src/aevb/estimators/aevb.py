"""Auto-Encoding Variational Bayes (Algorithm 1) with the estimator SGVB-B (eq. 7 and 10).

    L(theta, phi; x) ~ -KL(q(z | x) || p(z)) + 1/L sum_l log p(x | z_l),    z_l = mu + sigma * eps_l

with the KL divergence in closed form (Appendix B) and eps_l ~ N(0, I).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb.distributions import Gaussian
from aevb.estimators import Estimator, Info, gradient
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


class State(NamedTuple):
    params: Params
    optimiser: Any


class Noise(NamedTuple):
    eps: Tensor  # (L, B, N_z)


def elbo(model: Model, params: Params, x: Tensor, eps: Tensor) -> Tensor:
    """SGVB-B (eq. 7): x (M, B, D), eps (M, L, B, N_z) -> (M, B) in nats."""
    q = model.encode(params.phi, x)
    z = Gaussian(q.mu.unsqueeze(1), q.log_var.unsqueeze(1)).sample(eps)
    return model.log_likelihood(params.theta, x, z).mean(1) - q.kl()


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 1) -> Estimator:
    """n_samples: L, the draws of z per data point (the paper: 1)."""

    def init(params: Params) -> State:
        return State(params, optimiser.init(params))

    def draw(generator: torch.Generator, batch_size: int) -> Noise:
        return Noise(Gaussian.draw_noise(generator, (n_samples, batch_size, model.n_latent)))

    def step(state: State, x: Tensor, noise: Noise) -> tuple[State, Info]:
        batch_size = x.shape[1]

        def objective(params: Params) -> Tensor:
            return elbo(model, params, x, noise.eps).sum(-1)

        value, grads = gradient(objective, state.params)
        params, optimiser_state = optimiser.ascend(state.optimiser, state.params, grads, batch_size / n_train)
        bound = value / batch_size
        return State(params, optimiser_state), Info(bound, bound)

    return Estimator(init, draw, step)
