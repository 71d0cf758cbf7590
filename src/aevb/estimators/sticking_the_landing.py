"""Sticking the landing (Roeder, Wu & Duvenaud 2017): SGVB-A without the part of its gradient that is noise.

    grad_phi [log p(x, z) - log q(z | x)] = path through z + (-grad_phi log q at fixed z)

The second term, the score, has the expectation zero and is left out. At q = p(z | x) the path's gradient is zero for
every draw, so that the variance vanishes there.
"""

from torch import Tensor

from aevb.estimators import Estimator, ascend_bound, fixed, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def elbo(model: Model, params: Params, x: Tensor, eps: Tensor) -> Tensor:
    """The value of SGVB-A (eq. 6), with the gradient of the path alone: x (M, B, D), eps (M, L, B, N_z) -> (M, B)."""
    q, z = propose(model, params.phi, x, eps)
    return (model.log_joint(params.theta, x, z) - fixed(q).log_prob(z)).mean(1)


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 1) -> Estimator:
    """n_samples: L, the draws of z per data point."""
    return ascend_bound(elbo, model, optimiser, n_train, n_samples)
