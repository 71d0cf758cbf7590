"""Probabilistic PCA (Tipping & Bishop 1999) with the interface of `models.Model`: everything is known exactly.

p(z) = N(0, I),  p(x | z) = N(W z + b, s^2 I),  q(z | x) = N(A x + a, diag v) with v shared by all x
p(x) = N(b, W W' + s^2 I),  p(z | x) = N(S W'(x - b) / s^2, S),  S = (I + W'W / s^2)^-1
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from aevb.distributions import Gaussian
from aevb.models import Model, Params, Weights, affine


@dataclass(frozen=True)
class PPCA(Model):
    """A model whose evidence, posterior and bound are known in closed form."""

    noise_log_var: float = math.log(0.3)

    likelihood = Gaussian

    def init(self, generator: torch.Generator) -> Params:
        """Weights of order one: the decoder's posterior is far from the prior."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        d, k = self.n_features, self.n_latent
        theta = {"w_h": normal(k, d), "b_h": normal(1, d)}
        phi = {"w_mu": 0.3 * normal(d, k), "b_mu": normal(1, k), "b_log_var": 0.5 * normal(1, k) - 1}
        return Params(theta, phi)

    def encode(self, phi: Weights, x: Tensor) -> Gaussian:
        mu = affine(phi, "mu", x)
        return Gaussian(mu, phi["b_log_var"].expand_as(mu))

    def decode(self, theta: Weights, z: Tensor) -> Gaussian:
        mu = affine(theta, "h", z.flatten(1, 2)).unflatten(1, z.shape[1:3])
        return Gaussian(mu, torch.full_like(mu, self.noise_log_var))

    def log_evidence(self, theta: Weights, x: Tensor) -> Tensor:
        """log p(x) of one model: (1, B, D) -> (B,)."""
        w, b = theta["w_h"][0], theta["b_h"][0, 0]
        covariance = w.T @ w + math.exp(self.noise_log_var) * torch.eye(self.n_features).to(w)
        return MultivariateNormal(b, covariance).log_prob(x[0])

    def best_encoder(self, theta: Weights) -> Weights:
        """phi of the highest ELBO for one model: the posterior's mean, its precision's inverse diagonal."""
        w, b = theta["w_h"][0], theta["b_h"][0]
        variance = math.exp(self.noise_log_var)
        precision = torch.eye(self.n_latent).to(w) + w @ w.T / variance
        w_mu = w.T @ torch.linalg.inv(precision) / variance
        log_var = -precision.diagonal().log().unsqueeze(0)
        return {"w_mu": w_mu[None], "b_mu": -(b @ w_mu)[None], "b_log_var": log_var[None]}
