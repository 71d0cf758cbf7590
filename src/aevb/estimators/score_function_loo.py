"""The score-function gradient with a leave-one-out baseline (Mnih & Rezende 2016; Kool, van Hoof & Welling 2019).

    grad_phi ~ 1/L sum_l (f(z_l) - 1/(L-1) sum_{k != l} f(z_k)) grad_phi log q(z_l | x)

The baseline is independent of z_l, so that the expectation stays what it is in section 2.2, and takes out of f what
is common to all z: most of it.
"""

from torch import Tensor

from aevb import UserError
from aevb.estimators import Estimator, Objective, ascend, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def objective(model: Model, params: Params, x: Tensor, eps: Tensor) -> Objective:
    """x (M, B, D), eps (M, L, B, N_z) with L > 1 -> (M, B)."""
    q, z = propose(model, params.phi, x, eps)
    z = z.detach()  # a draw, not a function of phi
    log_joint, log_q = model.log_joint(params.theta, x, z), q.log_prob(z)
    f = (log_joint - log_q).detach()
    n_samples = f.shape[1]
    baseline = (f.sum(1, keepdim=True) - f) / (n_samples - 1)
    return Objective((log_joint + (f - baseline) * log_q).mean(1), f.mean(1))


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 5) -> Estimator:
    """n_samples: L, the draws of z per data point.

    Raises UserError when it is 1, which leaves nothing for a baseline.
    """
    if n_samples < 2:
        raise UserError(
            "score_function_loo: n_samples must be 2 or more, since one draw leaves no other one."
        )
    return ascend(objective, model, optimiser, n_train, n_samples)
