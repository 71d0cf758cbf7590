"""log p(x | z) of every data point at every one of G nodes z that all points share, by matrix products.

    Bernoulli (eq. 11):  x' logit + sum log(1 - y)
    Gaussian (eq. 12):   -1/2 (sum log 2 pi sigma^2 + mu^2 / sigma^2) + x' (mu / sigma^2) - x^2' (1 / (2 sigma^2))

A likelihood evaluated at its own z for each point costs a pass through the decoder; here the pass is shared.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from aevb.distributions import LOG_2PI, Bernoulli, Gaussian
from aevb.models import Model, Weights

CHUNK = 8192  # nodes at a time: bounds the memory of what is decoded


def log_likelihood(model: Model, theta: Weights, x: Tensor, z: Tensor) -> Tensor:
    """x (B, D), nodes z (G, N_z), weights of M models -> log p(x | z) in nats, (M, G, B).

    Computed in the weights' precision; in single precision a Gaussian's terms cancel to some hundredths of a nat.
    """
    weight = theta["w_h"]
    parts = []
    for some in z.split(CHUNK):
        shared = some.to(weight).expand(len(weight), 1, -1, -1)
        parts.append(_at(model.decode(theta, shared), x.to(weight)))
    return torch.cat(parts, 1)


def _at(p: Bernoulli | Gaussian, x: Tensor) -> Tensor:
    """Parameters (M, 1, G, D) and points (B, D) -> (M, G, B)."""
    if isinstance(p, Bernoulli):
        logits = p.logits.squeeze(1)
        return logits @ x.T - softplus(logits).sum(-1, keepdim=True)
    mu, log_var = p.mu.squeeze(1), p.log_var.squeeze(1)
    precision = torch.exp(-log_var)
    constant = (LOG_2PI + log_var + mu.square() * precision).sum(-1, keepdim=True)
    return (mu * precision) @ x.T - 0.5 * (precision @ x.square().T + constant)
