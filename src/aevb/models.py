"""Encoder and decoder of the paper (Appendix C) as pure functions of stacked weights.

A model holds sizes only; weights are dictionaries of tensors (M, in, out), biases (M, 1, out), so one layer of
M models is one `baddbmm`. Names that start with `w` are weights, on which the prior N(0, I) of section 5 lies;
names that start with `b` are biases. Data x has shape (M, B, D), latents z (M, S, B, N_z).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import threshold

from aevb.distributions import Bernoulli, Gaussian, standard_normal_log_prob

INITIAL_STD = 0.01  # section 5: "N(0, 0.01)"; in the authors' code it is the standard deviation

Weights = dict[str, Tensor]


class Params(NamedTuple):
    """Decoder weights theta and encoder weights phi; phi is empty for a method without an encoder."""

    theta: Weights
    phi: Weights


def affine(weights: Weights, name: str, x: Tensor) -> Tensor:
    """x W + b for every model of the stack: (M, B, in) -> (M, B, out)."""
    return torch.baddbmm(weights[f"b_{name}"], x, weights[f"w_{name}"])


def mlp(weights: Weights, x: Tensor) -> Tensor:
    """A one-layer tanh MLP of every model of the stack: (M, B, in) -> (M, B, out)."""
    return affine(weights, "out", torch.tanh(affine(weights, "h", x)))


def is_weight(name: str) -> bool:
    """Whether the prior of section 5 lies on the tensor of this (dotted) name."""
    return name.rsplit(".", 1)[-1].startswith("w")


@dataclass(frozen=True)
class Model:
    """p(z) = N(0, I), p(x | z) a one-layer tanh MLP, q(z | x) a Gaussian one-layer tanh MLP.

    Subclasses choose p(x | z): `outputs` names the decoder's output layers, `decode` reads them.
    """

    n_features: int
    n_hidden: int
    n_latent: int

    outputs: ClassVar[int] = 1
    likelihood: ClassVar[type[Bernoulli] | type[Gaussian]] = Bernoulli

    def init(self, generator: torch.Generator) -> Params:
        """One model's initial weights, N(0, 0.01^2), without a model axis (`trees.stack` adds it)."""
        theta = self._init_mlp(generator, self.n_latent, self.outputs * self.n_features)
        phi = self._init_mlp(generator, self.n_features, 2 * self.n_latent)
        return Params(theta, phi)

    def _init_mlp(self, generator: torch.Generator, n_in: int, n_out: int) -> Weights:
        shapes = {
            "w_h": (n_in, self.n_hidden),
            "b_h": (1, self.n_hidden),
            "w_out": (self.n_hidden, n_out),
            "b_out": (1, n_out),
        }
        return {
            name: INITIAL_STD * torch.randn(shape, generator=generator, device=generator.device)
            for name, shape in shapes.items()
        }

    def encode(self, phi: Weights, x: Tensor) -> Gaussian:
        """q(z | x), eq. 9 and Appendix C.2: (M, B, D) -> parameters (M, B, N_z)."""
        return Gaussian(*mlp(phi, x).chunk(2, -1))

    def decode(self, theta: Weights, z: Tensor) -> Bernoulli | Gaussian:
        """p(x | z): (M, S, B, N_z) -> parameters (M, S, B, D)."""
        raise NotImplementedError

    def generate(self, theta: Weights, z: Tensor, noise: Tensor) -> Tensor:
        """x ~ p(x | z) from the likelihood's noise: (M, S, B, N_z) -> (M, S, B, D)."""
        return self.decode(theta, z).sample(noise)

    def log_likelihood(self, theta: Weights, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats: x (M, B, D), z (M, S, B, N_z) -> (M, S, B)."""
        return self.decode(theta, z).log_prob(x.unsqueeze(1))

    def log_joint(self, theta: Weights, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats: x (M, B, D), z (M, S, B, N_z) -> (M, S, B)."""
        return self.log_likelihood(theta, x, z) + standard_normal_log_prob(z)


@dataclass(frozen=True)
class BernoulliModel(Model):
    """Decoder with Bernoulli outputs (eq. 11): the paper's choice for MNIST."""

    def decode(self, theta: Weights, z: Tensor) -> Bernoulli:
        return Bernoulli(mlp(theta, z.flatten(1, 2)).unflatten(1, z.shape[1:3]))


@dataclass(frozen=True)
class GaussianModel(Model):
    """Decoder with Gaussian outputs (eq. 12): the paper's choice for Frey Face.

    The mean is a sigmoid, in (0, 1) like the pixels (section 5); the log-variance is linear in h. The
    likelihood of such a model is unbounded (one pixel predicted exactly, its variance sent to zero), so the
    log-variance is clamped at `log_var_floor`.
    """

    log_var_floor: float

    outputs = 2
    likelihood = Gaussian

    def decode(self, theta: Weights, z: Tensor) -> Gaussian:
        mu, log_var = mlp(theta, z.flatten(1, 2)).unflatten(1, z.shape[1:3]).chunk(2, -1)
        # threshold is clamp(min=...) with a gradient that is not ten times as slow
        return Gaussian(torch.sigmoid(mu), threshold(log_var, self.log_var_floor, self.log_var_floor))

    def generate(self, theta: Weights, z: Tensor, noise: Tensor) -> Tensor:
        """x ~ p(x | z), clipped to [0, 1] like a pixel, as the authors' auto-encoders generate.

        Wake-sleep dreams with it, and its results on Frey Face depend on the clipping: see docs/deviations.md.
        """
        return super().generate(theta, z, noise).clamp(0, 1)


def build(n_features: int, n_hidden: int, n_latent: int, log_var_floor: float | None) -> Model:
    """The paper's model: Gaussian outputs where a floor for their log-variance is given, Bernoulli otherwise."""
    if log_var_floor is None:
        return BernoulliModel(n_features, n_hidden, n_latent)
    return GaussianModel(n_features, n_hidden, n_latent, log_var_floor)


def stack_weights(named: list[dict[str, Tensor]], device: torch.device) -> Params:
    """Params of M = len(named) models from their saved weights, each named theta.* or phi.* with M = 1."""
    stacked = {name: torch.cat([one[name] for one in named]).to(device) for name in named[0]}

    def part(prefix: str) -> Weights:
        return {name.removeprefix(prefix): w for name, w in stacked.items() if name.startswith(prefix)}

    return Params(part("theta."), part("phi."))
