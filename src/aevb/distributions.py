"""The two distributions of the paper (Appendix C) with a standard normal prior: sample, log_prob, kl.

A distribution is a tuple of its parameters, each of shape (..., D); it factorises over the last axis, which
`log_prob` and `kl` sum out. Randomness is an input: `sample` is a deterministic function of the parameters
and of noise that `draw_noise` makes, so that it can be differentiated, replayed and captured.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """N(mu, diag exp(log_var)); both parameters have shape (..., D). Appendix C.2."""

    mu: Tensor
    log_var: Tensor

    @property
    def mean(self) -> Tensor:
        return self.mu

    @staticmethod
    def draw_noise(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """eps ~ N(0, I), the auxiliary noise of eq. 4."""
        return torch.randn(shape, generator=generator, device=generator.device)

    def sample(self, eps: Tensor) -> Tensor:
        """mu + sigma * eps, the reparameterisation of section 2.4; eps broadcasts against (..., D)."""
        return torch.addcmul(self.mu, torch.exp(0.5 * self.log_var), eps)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mu, diag sigma^2) in nats, summed over the last axis; x broadcasts against (..., D)."""
        mu, x = torch.broadcast_tensors(self.mu, x)
        squared_error = mse_loss(mu, x, reduction="none")
        standardised = (squared_error * torch.exp(-self.log_var)).sum(-1)
        return -0.5 * (self.mu.shape[-1] * LOG_2PI + self.log_var.sum(-1) + standardised)

    def kl(self) -> Tensor:
        """KL(N(mu, sigma^2) || N(0, I)) in nats, summed over the last axis. Appendix B."""
        return 0.5 * (self.mu.square() + self.log_var.exp() - self.log_var - 1).sum(-1)


class Bernoulli(NamedTuple):
    """Independent Bernoulli variables given by their logits, shape (..., D). Appendix C.1."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @staticmethod
    def draw_noise(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """u ~ U(0, 1)."""
        return torch.rand(shape, generator=generator, device=generator.device)

    def sample(self, u: Tensor) -> Tensor:
        """x in {0, 1}: one where u is below the mean. Not differentiable in the logits."""
        return (u < self.mean).to(self.logits.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """x log y + (1 - x) log(1 - y) in nats, summed over the last axis (eq. 11).

        x may be a grey level in [0, 1]; the paper does not binarise MNIST.
        """
        x = x.expand_as(self.logits)
        return -binary_cross_entropy_with_logits(self.logits, x, reduction="none").sum(-1)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, summed over the last axis."""
    return -0.5 * (LOG_2PI + z.square()).sum(-1)
