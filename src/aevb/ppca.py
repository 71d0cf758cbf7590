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

    def sample(self, theta: Weights, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
        """n draws (z, x) from p(z, x) of one model: (1, n, N_z), (1, n, D)."""
        z = torch.randn(1, 1, n, self.n_latent, generator=generator)
        x = self.decode(theta, z).sample(torch.randn(1, 1, n, self.n_features, generator=generator))
        return z.squeeze(1), x.squeeze(1)

    def log_evidence(self, theta: Weights, x: Tensor) -> Tensor:
        """log p(x) of one model: (1, B, D) -> (B,)."""
        w, b = theta["w_h"][0], theta["b_h"][0, 0]
        covariance = w.T @ w + math.exp(self.noise_log_var) * torch.eye(self.n_features).to(w)
        return MultivariateNormal(b, covariance).log_prob(x[0])

    def posterior(self, theta: Weights, x: Tensor) -> MultivariateNormal:
        """p(z | x) of one model at the points x (1, B, D)."""
        w, b = theta["w_h"][0], theta["b_h"][0, 0]
        precision = torch.eye(self.n_latent).to(w) + w @ w.T / math.exp(self.noise_log_var)
        mean = (x[0] - b) @ w.T @ torch.linalg.inv(precision) / math.exp(self.noise_log_var)
        return MultivariateNormal(mean, precision_matrix=precision)

    def best_encoder(self, theta: Weights) -> Weights:
        """phi of the highest ELBO for one model: the posterior's mean, its precision's inverse diagonal."""
        w, b = theta["w_h"][0], theta["b_h"][0]
        variance = math.exp(self.noise_log_var)
        precision = torch.eye(self.n_latent).to(w) + w @ w.T / variance
        w_mu = w.T @ torch.linalg.inv(precision) / variance
        log_var = -precision.diagonal().log().unsqueeze(0)
        return {"w_mu": w_mu[None], "b_mu": -(b @ w_mu)[None], "b_log_var": log_var[None]}

    def exact_elbo(self, params: Params, x: Tensor) -> Tensor:
        """The ELBO in closed form, written out with the trace of the second moments: (M, B, D) -> (M, B)."""
        q = self.encode(params.phi, x)
        residual = x - affine(params.theta, "h", q.mu)
        # E_q |x - W z - b|^2 = |residual|^2 + sum_k v_k |w_k|^2
        spread = (q.log_var.exp() * params.theta["w_h"].square().sum(-1).unsqueeze(1)).sum(-1)
        expected_square = (residual.square().sum(-1) + spread) / math.exp(self.noise_log_var)
        log_likelihood = -0.5 * (
            self.n_features * (math.log(2 * math.pi) + self.noise_log_var) + expected_square
        )
        kl = 0.5 * (q.mu.square() + q.log_var.exp() - 1 - q.log_var).sum(-1)
        return log_likelihood - kl
