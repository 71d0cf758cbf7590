"""Importance weighted autoencoders (Burda, Grosse & Salakhutdinov 2016): a tighter bound from K draws.

    L_K(x) = E log 1/K sum_k w_k,    w_k = p(x, z_k) / q(z_k | x),    z_k = mu + sigma * eps_k

L_1 is SGVB-A; L_K rises with K to log p(x).
"""

from torch import Tensor

from aevb.estimators import Estimator, ascend_bound, log_mean_exp, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def bound(model: Model, params: Params, x: Tensor, eps: Tensor) -> Tensor:
    """x (M, B, D), eps (M, K, B, N_z) -> (M, B) in nats."""
    q, z = propose(model, params.phi, x, eps)
    return log_mean_exp(model.log_joint(params.theta, x, z) - q.log_prob(z))


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 5) -> Estimator:
    """n_samples: K, the draws of z per data point."""
    return ascend_bound(bound, model, optimiser, n_train, n_samples)
