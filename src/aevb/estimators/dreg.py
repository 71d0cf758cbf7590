"""Doubly reparameterised gradients of the importance weighted bound (Tucker, Lawson, Gu & Maddison 2019, eq. 8).

    grad_phi L_K = E sum_k W_k^2 (d log w_k / d z_k) (d z_k / d phi),    W_k = w_k / sum_j w_j

has the expectation of IWAE's gradient for phi, and a signal that does not fade as K grows. The decoder's gradient is
IWAE's, sum_k W_k grad_theta log w_k.
"""

import torch
from torch import Tensor

from aevb.estimators import Estimator, Objective, ascend, fixed, log_mean_exp, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def objective(model: Model, params: Params, x: Tensor, eps: Tensor) -> Objective:
    """x (M, B, D), eps (M, K, B, N_z) -> (M, B)."""
    q, z = propose(model, params.phi, x, eps)
    q = fixed(q)

    def log_w(z: Tensor) -> Tensor:
        return model.log_joint(params.theta, x, z) - q.log_prob(z)

    with torch.no_grad():
        share = torch.softmax(log_w(z), 1)
    # the same z, whose gradient arrives times W_k at the encoder: with the W_k below that makes its square
    slowed = z.detach() + share.unsqueeze(-1) * (z - z.detach())
    weights = log_w(slowed)
    return Objective((share * weights).sum(1), log_mean_exp(weights.detach()))


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 5) -> Estimator:
    """n_samples: K, the draws of z per data point."""
    return ascend(objective, model, optimiser, n_train, n_samples)
