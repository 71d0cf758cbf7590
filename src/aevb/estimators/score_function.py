"""The naive Monte Carlo gradient of section 2.2, which the paper calls impractical for its variance.

    grad_phi E_q[f(z)] = E_q[f(z) grad_phi log q(z | x)],    f(z) = log p(x, z) - log q(z | x)

That f depends on phi too adds nothing: grad_phi log q has the expectation zero. The decoder's gradient is the mean of
grad_theta log p(x, z) over the draws, as in SGVB.
"""

from torch import Tensor

from aevb.estimators import Estimator, Objective, ascend, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def objective(model: Model, params: Params, x: Tensor, eps: Tensor) -> Objective:
    """x (M, B, D), eps (M, L, B, N_z) -> (M, B)."""
    q, z = propose(model, params.phi, x, eps)
    z = z.detach()  # a draw, not a function of phi
    log_joint, log_q = model.log_joint(params.theta, x, z), q.log_prob(z)
    f = (log_joint - log_q).detach()
    return Objective((log_joint + f * log_q).mean(1), f.mean(1))


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 1) -> Estimator:
    """n_samples: L, the draws of z per data point."""
    return ascend(objective, model, optimiser, n_train, n_samples)
