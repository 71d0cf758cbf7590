"""The lower bound of Figure 2, on held-out or training points, from weights alone: a method never grades itself.

Nothing of estimators/ is used here, not even by AEVB, which ascends the same bound: a fault there must not move the
yardstick too.
"""

import torch
from torch import Tensor

from aevb.distributions import Gaussian
from aevb.models import Model, Params

CHUNK = 500  # points at a time: activations stay in cache


def mean_elbo(
    model: Model, params: Params, points: Tensor, scale: float, generators: list[torch.Generator]
) -> Tensor:
    """The ELBO with one draw of z per point and the KL in closed form (eq. 7), in nats per data point: (M,).

    points: uint8 (N, D); scale: what a grey level is divided by; generators: one per model.
    """
    total = torch.zeros(len(generators), dtype=torch.float64, device=points.device)
    with torch.no_grad():
        for chunk in points.split(CHUNK):
            x = to_unit(chunk, scale).expand(len(generators), -1, -1)
            shape = (len(chunk), model.n_latent)
            eps = torch.stack([Gaussian.draw_noise(generator, shape) for generator in generators])
            q = model.encode(params.phi, x)
            z = q.sample(eps).unsqueeze(1)
            bound = model.log_likelihood(params.theta, x, z).squeeze(1) - q.kl()
            total += bound.double().sum(-1)
    return total / len(points)


def to_unit(points: Tensor, scale: float) -> Tensor:
    """Grey levels uint8 to floating point: what every model sees is points / scale."""
    return points.to(torch.get_default_dtype()).div_(scale)
