"""SGVB-A (eq. 6): the estimator of the bound that draws the KL divergence too.

L(theta, phi; x) ~ 1/L sum_l log p(x, z_l) - log q(z_l | x),    z_l = mu + sigma * eps_l
"""

from torch import Tensor

from aevb.estimators import Estimator, ascend_bound, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def elbo(model: Model, params: Params, x: Tensor, eps: Tensor) -> Tensor:
    """SGVB-A (eq. 6): x (M, B, D), eps (M, L, B, N_z) -> (M, B) in nats."""
    q, z = propose(model, params.phi, x, eps)
    return (model.log_joint(params.theta, x, z) - q.log_prob(z)).mean(1)


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 1) -> Estimator:
    """n_samples: L, the draws of z per data point."""
    return ascend_bound(elbo, model, optimiser, n_train, n_samples)
