"""Probabilistic PCA with what tests alone ask of it: draws, the posterior and the ELBO, all in closed form."""

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from aevb import ppca
from aevb.models import Params, Weights, affine


class PPCA(ppca.PPCA):
    def sample(self, theta: Weights, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
        """n draws (z, x) from p(z, x) of one model: (1, n, N_z), (1, n, D)."""
        z = torch.randn(1, 1, n, self.n_latent, generator=generator)
        x = self.decode(theta, z).sample(torch.randn(1, 1, n, self.n_features, generator=generator))
        return z.squeeze(1), x.squeeze(1)

    def posterior(self, theta: Weights, x: Tensor) -> MultivariateNormal:
        """p(z | x) of one model at the points x (1, B, D)."""
        w, b = theta["w_h"][0], theta["b_h"][0, 0]
        precision = torch.eye(self.n_latent).to(w) + w @ w.T / math.exp(self.noise_log_var)
        mean = (x[0] - b) @ w.T @ torch.linalg.inv(precision) / math.exp(self.noise_log_var)
        return MultivariateNormal(mean, precision_matrix=precision)

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
