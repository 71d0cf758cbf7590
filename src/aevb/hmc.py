"""Hamiltonian Monte Carlo (Neal 2010) for a batch of independent chains, with a step size per chain.

    H(z, r) = -log p(z) + |r|^2 / 2,   leapfrog:  r += eps/2 g,  z += eps r,  r += eps/2 g,   g = grad log p(z)

A chain is one row of z (..., N_z); log p and the step sizes have shape (...). One transition serves the E-step of
Monte Carlo EM (Appendix E) and the posterior samples of Appendix D. Energies are compared in double precision.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

INITIAL_STEP = 0.1

LogProb = Callable[[Tensor], Tensor]


class Point(NamedTuple):
    """A chain's position with what the integrator needs there: z (..., N_z), log_prob (...), grad (..., N_z)."""

    z: Tensor
    log_prob: Tensor
    grad: Tensor


class Noise(NamedTuple):
    momentum: Tensor  # (..., N_z), N(0, I)
    u: Tensor  # (...), U(0, 1), decides acceptance


def draw_noise(generator: torch.Generator, shape: tuple[int, ...]) -> Noise:
    """Everything random about one transition of chains z of this shape (..., N_z)."""
    momentum = torch.randn(shape, generator=generator, device=generator.device)
    return Noise(momentum, torch.rand(shape[:-1], generator=generator, device=generator.device))


def at(log_prob: LogProb, z: Tensor) -> Point:
    """Evaluate the target and its gradient; chains are independent, so the gradient of the sum decouples."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_prob(z)
        # not of value.sum(), on which its gradient would depend: a recorded transition drops values nobody reads
        (grad,) = torch.autograd.grad(value, z, z.new_ones(value.shape))
    return Point(z.detach(), value.detach(), grad)


def leapfrog(
    log_prob: LogProb, start: Point, momentum: Tensor, step_size: Tensor, n_steps: int
) -> tuple[Point, Tensor]:
    """n_steps leapfrog steps; step_size (...) of each chain. Returns the end point and its momentum."""
    eps = step_size.unsqueeze(-1)
    point = start
    momentum = momentum + 0.5 * eps * point.grad
    for n in range(n_steps):
        point = at(log_prob, point.z + eps * momentum)
        momentum = momentum + (eps if n < n_steps - 1 else 0.5 * eps) * point.grad
    return point, momentum


def transition(
    log_prob: LogProb, start: Point, noise: Noise, step_size: Tensor, n_steps: int
) -> tuple[Point, Tensor]:
    """One HMC transition. Returns the new points and min(1, exp(-dH)), (...), the acceptance probability.

    A trajectory whose energy is not finite is rejected and counts as acceptance zero.
    """
    end, momentum = leapfrog(log_prob, start, noise.momentum, step_size, n_steps)
    energy_start = 0.5 * noise.momentum.double().square().sum(-1) - start.log_prob.double()
    energy_end = 0.5 * momentum.double().square().sum(-1) - end.log_prob.double()
    dh = energy_end - energy_start
    # NaN compares false, and min(1, exp(NaN)) must become 0, not 1 or NaN
    acceptance = torch.where(torch.isfinite(dh), torch.exp(-dh.clamp(min=0)), torch.zeros_like(dh))
    accept = noise.u.double() < acceptance
    return choose(accept, end, start), acceptance


def choose(accept: Tensor, end: Point, start: Point) -> Point:
    """The end of each chain whose proposal was accepted (...), the start of the others."""
    return Point(
        torch.where(accept.unsqueeze(-1), end.z, start.z),
        torch.where(accept, end.log_prob, start.log_prob),
        torch.where(accept.unsqueeze(-1), end.grad, start.grad),
    )


class DualAveraging(NamedTuple):
    """Step-size adaptation of Hoffman & Gelman (2014, eq. 6), one per chain; every field has shape (...)."""

    log_step: Tensor
    log_step_averaged: Tensor
    error: Tensor  # running mean of target - acceptance
    mu: Tensor
    iteration: Tensor


def dual_averaging(step_size: Tensor) -> DualAveraging:
    """Start at the given step sizes (...)."""
    zero = torch.zeros_like(step_size)
    return DualAveraging(step_size.log(), zero, zero, torch.log(10 * step_size), zero)


def adapt(state: DualAveraging, acceptance: Tensor, target: float = 0.9) -> DualAveraging:
    """One update towards the target acceptance, with the published constants gamma .05, t0 10, kappa .75."""
    gamma, t0, kappa = 0.05, 10.0, 0.75
    t = state.iteration + 1
    error = state.error + (target - acceptance.to(t.dtype) - state.error) / (t + t0)
    log_step = state.mu - t.sqrt() / gamma * error
    averaged = state.log_step_averaged + t**-kappa * (log_step - state.log_step_averaged)
    return DualAveraging(log_step, averaged, error, state.mu, t)
