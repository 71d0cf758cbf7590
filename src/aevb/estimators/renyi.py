"""The variational Renyi bound (Li & Turner 2016, eq. 4 and 9).

    L_alpha(x) = 1/(1 - alpha) log E_q (p(x, z) / q(z | x))^(1 - alpha)
               ~ 1/(1 - alpha) log 1/K sum_k w_k^(1 - alpha),    z_k = mu + sigma * eps_k

It falls from log p(x) at alpha = 0 to the ELBO as alpha tends to 1. The mean of K draws under the logarithm makes it
lower still, so that for 0 <= alpha < 1 the estimate is a lower bound in expectation; at alpha = 0 it is IWAE's.
"""

from functools import partial

from torch import Tensor

from aevb import UserError
from aevb.estimators import Estimator, ascend_bound, log_mean_exp, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def bound(model: Model, params: Params, x: Tensor, eps: Tensor, alpha: float) -> Tensor:
    """x (M, B, D), eps (M, K, B, N_z) -> (M, B) in nats."""
    q, z = propose(model, params.phi, x, eps)
    log_w = model.log_joint(params.theta, x, z) - q.log_prob(z)
    return log_mean_exp((1 - alpha) * log_w) / (1 - alpha)


def build(
    model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 5, alpha: float = 0.5
) -> Estimator:
    """n_samples: K, the draws of z per data point; alpha: the order of the divergence.

    Raises UserError unless 0 <= alpha < 1: elsewhere the estimate is no lower bound.
    """
    if not 0 <= alpha < 1:
        raise UserError(
            f"renyi: alpha = {alpha} is not in [0, 1), where the estimate is a lower bound. At 1 it is the ELBO: use "
            "sgvb_a or aevb."
        )
    return ascend_bound(partial(bound, alpha=alpha), model, optimiser, n_train, n_samples)
