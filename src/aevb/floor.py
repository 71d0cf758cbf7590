"""The floor under the log-variance of a Gaussian decoder, whose likelihood has no upper bound: a pixel that stands on
it would go on rising without it."""

import torch
from torch import Tensor

from aevb import representation
from aevb.models import GaussianModel, Model, Params


@torch.no_grad()
def share_on_floor(model: Model, params: Params, x: Tensor) -> float | None:
    """Of one model: the share of pixels of p(x | z) whose log-variance stands on the floor of the configuration.

    x (B, D), each with z the mean of q(z | x). None for a method without an encoder, a likelihood
    without a variance, and a run that has diverged.
    """
    if not isinstance(model, GaussianModel) or not params.phi:
        return None
    z = representation.encode(model, params.phi, x).mu
    log_var = model.decode(params.theta, z.unsqueeze(1)).log_var
    if not torch.isfinite(log_var).all():
        return None
    return (log_var <= model.log_var_floor).double().mean().item()
