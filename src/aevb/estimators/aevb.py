"""Auto-Encoding Variational Bayes (Algorithm 1) with the estimator SGVB-B (eq. 7 and 10).

    L(theta, phi; x) ~ -KL(q(z | x) || p(z)) + 1/L sum_l log p(x | z_l),    z_l = mu + sigma * eps_l

with the KL divergence in closed form (Appendix B) and eps_l ~ N(0, I).
"""

from torch import Tensor

from aevb.estimators import Estimator, ascend_bound, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def elbo(model: Model, params: Params, x: Tensor, eps: Tensor) -> Tensor:
    """SGVB-B (eq. 7): x (M, B, D), eps (M, L, B, N_z) -> (M, B) in nats."""
    q, z = propose(model, params.phi, x, eps)
    return model.log_likelihood(params.theta, x, z).mean(1) - q.kl().squeeze(1)


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 1) -> Estimator:
    """n_samples: L, the draws of z per data point (the paper: 1)."""
    return ascend_bound(elbo, model, optimiser, n_train, n_samples)
