"""Hamiltonian Monte Carlo (Neal 2010) for a batch of independent chains, with a step size per chain.

    H(z, r) = -log p(z) + |r|^2 / 2,   leapfrog:  r += eps/2 g,  z += eps r,  r += eps/2 g,   g = grad log p(z)

A chain is one row of z (..., N_z); log p and the step sizes have shape (...). One transition serves the E-step of
Monte Carlo EM (Appendix E) and the posterior samples of Appendix D. Energies are compared in double precision.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from aevb import trees
from aevb.recording import record

INITIAL_STEP = 0.1
ADAPTED_SHARE = 0.8  # of the warm-up; the rest is run at the frozen step size and discarded

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
    moved = Point(
        torch.where(accept.unsqueeze(-1), end.z, start.z),
        torch.where(accept, end.log_prob, start.log_prob),
        torch.where(accept.unsqueeze(-1), end.grad, start.grad),
    )
    return moved, acceptance


def recorded_transition(
    log_prob: LogProb, start: Point, n_steps: int
) -> Callable[[Point, Noise, Tensor], tuple[Point, Tensor]]:
    """`transition` for chains like `start`, as (point, noise, step_size) -> (point, acceptance), recorded once.

    The densities on the way, which nothing reads, are then not computed.
    """

    def flat(*inputs: Tensor) -> list[Tensor]:
        point, acceptance = transition(log_prob, Point(*inputs[:3]), Noise(*inputs[3:5]), inputs[5], n_steps)
        return [*point, acceptance]

    example_noise = Noise(torch.zeros_like(start.z), torch.zeros_like(start.log_prob))
    program = record(flat, [*start, *example_noise, torch.full_like(start.log_prob, INITIAL_STEP)])

    def run(point: Point, noise: Noise, step_size: Tensor) -> tuple[Point, Tensor]:
        *moved, acceptance = program(*point, *noise, step_size)
        return Point(*moved), acceptance

    return run


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


def sample(
    log_prob: LogProb,
    start: Tensor,
    generators: list[torch.Generator],
    n_samples: int,
    n_leapfrog: int,
    target: float = 0.9,
    warm_up: int = 300,
) -> tuple[Tensor, Tensor]:
    """Posterior draws of M x B chains whose step sizes were adapted per chain and then frozen.

    start: (M, B, N_z); generators: one per model. The step size is adapted during the first four fifths of
    the warm-up, frozen at its average, and the rest is discarded; every transition jitters it by U(.8, 1.2)
    lest a trajectory close on itself. Returns draws (n_samples, M, B, N_z) and the mean acceptance
    probability (M, B) of the kept transitions.
    """
    point = at(log_prob, start)
    move = recorded_transition(log_prob, point, n_leapfrog)
    adaptation = dual_averaging(torch.full_like(point.log_prob, INITIAL_STEP))
    step_size = adaptation.log_step.exp()
    acceptance = torch.zeros_like(point.log_prob, dtype=torch.float64)
    draws = []
    for n in range(warm_up + n_samples):
        noise, jitter = _draw_stacked(generators, tuple(start.shape[1:]))
        point, probability = move(point, noise, step_size * jitter)
        if n < ADAPTED_SHARE * warm_up:
            adaptation = adapt(adaptation, probability, target)
            step_size = adaptation.log_step.exp()
        else:
            step_size = adaptation.log_step_averaged.exp()
        if n >= warm_up:
            acceptance += probability / n_samples
            draws.append(point.z)
    return torch.stack(draws), acceptance


def _draw_stacked(generators: list[torch.Generator], shape: tuple[int, ...]) -> tuple[Noise, Tensor]:
    noise = [draw_noise(generator, shape) for generator in generators]
    jitter = [
        0.8 + 0.4 * torch.rand(shape[:-1], generator=generator, device=generator.device)
        for generator in generators
    ]
    return trees.stack(noise), torch.stack(jitter)
