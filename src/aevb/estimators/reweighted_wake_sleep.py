"""Reweighted wake-sleep (Bornschein & Bengio 2015), with the wake-phase update of the encoder (Le et al. 2019).

    z_k ~ q(z | x),    W_k = w_k / sum_j w_j,    w_k = p(x, z_k) / q(z_k | x)
    theta ascends sum_k W_k log p(x, z_k);    phi ascends sum_k W_k log q(z_k | x)

The weighted draws stand for the posterior: theta follows the importance weighted bound, phi descends
KL(p(z | x) || q(z | x)). Unlike in wake-sleep nothing is dreamt.
"""

import torch
from torch import Tensor

from aevb import UserError
from aevb.estimators import Estimator, Objective, ascend, log_mean_exp, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


def objective(model: Model, params: Params, x: Tensor, eps: Tensor) -> Objective:
    """x (M, B, D), eps (M, K, B, N_z) -> (M, B)."""
    q, z = propose(model, params.phi, x, eps)
    z = z.detach()  # a draw, not a function of phi
    log_joint, log_q = model.log_joint(params.theta, x, z), q.log_prob(z)
    log_w = (log_joint - log_q).detach()
    share = torch.softmax(log_w, 1)
    return Objective((share * (log_joint + log_q)).sum(1), log_mean_exp(log_w))


def build(model: Model, optimiser: Optimiser, n_train: int, n_samples: int = 5) -> Estimator:
    """n_samples: K, the draws of z per data point.

    Raises UserError when it is 1: its weight is 1 whatever q is, and q would chase its own draws.
    """
    if n_samples < 2:
        raise UserError(
            "reweighted_wake_sleep: n_samples must be 2 or more, since a single draw always has the weight 1."
        )
    return ascend(objective, model, optimiser, n_train, n_samples)
