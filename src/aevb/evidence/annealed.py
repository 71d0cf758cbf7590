"""Annealed importance sampling (Neal 2001) and, in reverse, bidirectional Monte Carlo (Grosse et al. 2015).

    f_beta(z) = p(z) p(x | z)^beta,    0 = beta_0 < beta_1 < ... < beta_T = 1
    w = prod_t f_{beta_{t+1}}(z_t) / f_{beta_t}(z_t),    z_0 ~ p(z),    z_t ~ HMC from z_{t-1} for f_{beta_t}

E[w] = p(x). From a start at the posterior, and the betas the other way, E[w] = 1/p(x). So in expectation log p(x) is
too low forward (Jensen) and too high in reverse, provided that the kernels do not depend on the run's own chains: a
pilot run with other draws finds the step sizes. No encoder is needed, and N_z may be anything.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, interpolate, pad

from aevb import hmc, trees
from aevb.distributions import Gaussian, standard_normal_log_prob
from aevb.evidence import Evidence, Refusal, diagnostics, in_chunks
from aevb.evidence.recorded import recorded
from aevb.models import Model, Params, Weights

DIRECTION = "lower"  # of `evidence`; `reverse` lies above
POWER = 3.0  # of the schedule: beta matters most where the posterior parts from the prior
PILOT_SHARE = 0.25  # of the temperatures
PILOT_MIN = 100  # temperatures
TARGET = 0.8  # acceptance
GAIN = 1.0  # by how much the log step grows for acceptance too high by one
FIRST_STEP = 0.5  # of the leapfrog integrator, near the prior
MAX_SPREAD = (
    1.0  # nats, of the chains' log weights: beyond, the logarithm of their mean is a bound and no estimate
)
CHAINS_AT_A_TIME = 400  # models times points times chains: activations stay in cache


class Noise(NamedTuple):
    """Everything random about one transition; M models, S chains, B points."""

    hmc: hmc.Noise
    jitter: Tensor  # (M, S, B), U(.5, 1.5) of the step size, lest trajectories close on themselves


class Moved(NamedTuple):
    point: hmc.Point
    acceptance: Tensor  # (M, S, B), probability


def evidence(
    model: Model,
    params: Params,
    x: Tensor,
    generators: list[torch.Generator],
    temperatures: int = 500,
    chains: int = 4,
    leapfrogs: int = 2,
) -> Evidence:
    """log p(x) of every point, from below: x (B, D), weights of M models, one generator per model.

    temperatures: T; chains: weights averaged per point; leapfrogs: of each of the T - 1 transitions of a chain.
    A point whose weights are not finite is refused; one whose chains' log weights spread by more than a nat has a
    bound and no estimate. If log weights are normal with variance v, the bound lies v / 2S below for many chains S.
    Of few, the spread seen is itself noisy, and small where the large weights were missed: with 4 chains and a true
    spread of 1, 1.5 and 2 nats 61, 28 and 14 % of points pass, and those lie 0.3, 0.9 and 1.8 nats too low. A mean
    over points is an estimate only where every one passes, which is where true spreads are well below a nat.
    """

    def estimate(x: Tensor) -> Evidence:
        path = Path(model, params.theta, x.expand(len(generators), -1, -1), chains, leapfrogs)
        betas, step_sizes = schedule(temperatures, x.device), pilot(path, temperatures, generators)
        log_w, acceptance = path.anneal(path.prior_draws(generators), betas, step_sizes, generators)
        return _mean(log_w, acceptance, 1)

    return in_chunks(x, CHAINS_AT_A_TIME // (chains * len(generators)), estimate)


def reverse(
    model: Model,
    params: Params,
    x: Tensor,
    z: Tensor,
    generators: list[torch.Generator],
    temperatures: int = 500,
    chains: int = 4,
    leapfrogs: int = 2,
) -> Evidence:
    """log p(x) from above, at points x (M, B, D) with an exact posterior draw z (M, B, N_z) each.

    That is data simulated from the models, (z, x) ~ p(z) p(x | z). All chains of a point start at its z: their
    weights depend on each other, but each has the mean 1/p(x), which is all that the direction needs. std_error
    leaves out what they have in common; take the error from the spread over points.
    """

    def estimate(rows: Tensor) -> Evidence:
        path = Path(model, params.theta, x[:, rows], chains, leapfrogs)
        betas, step_sizes = schedule(temperatures, x.device), pilot(path, temperatures, generators)
        start = z[:, None, rows].expand(-1, chains, -1, -1)
        log_w, acceptance = path.anneal(start, betas.flip(0), step_sizes.flip(0), generators)
        return _mean(log_w, acceptance, -1)

    rows = torch.arange(x.shape[1], device=x.device)
    return in_chunks(rows, CHAINS_AT_A_TIME // (chains * len(generators)), estimate)


def _mean(log_w: Tensor, acceptance: Tensor, sign: int) -> Evidence:
    """Weights and mean acceptance of every chain, (M, S, B)."""
    averaged = diagnostics.of_mean(log_w.transpose(0, 1).unsqueeze(0), sign)
    spread = ~(log_w.std(1) <= MAX_SPREAD) & ~averaged.refused  # NaN where a chain has no weight at all
    refusal = torch.where(spread, Refusal.SPREAD, averaged.refusal)
    return averaged._replace(acceptance=acceptance.mean(1), refusal=refusal)


def schedule(temperatures: int, device: torch.device) -> Tensor:
    """beta_0 ... beta_T, (T + 1,), dense where the posterior parts from the prior (Friel & Pettitt 2008)."""
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64, device=device) ** POWER


class Path:
    """The densities f_beta(z) = p(z) p(x | z)^beta and S chains that follow them, for points x (M, B, D)."""

    def __init__(self, model: Model, theta: Weights, x: Tensor, chains: int, leapfrogs: int) -> None:
        self.shape = (chains, x.shape[1], model.n_latent)

        def log_likelihood(z: Tensor) -> Tensor:
            return model.log_likelihood(theta, x, z).double()

        def move(point: hmc.Point, noise: Noise, step_size: Tensor, beta: Tensor) -> Moved:
            def log_f(z: Tensor) -> Tensor:
                return standard_normal_log_prob(z) + beta * log_likelihood(z)

            start = heated(point, beta)
            end, acceptance = hmc.transition(log_f, start, noise.hmc, step_size * noise.jitter, leapfrogs)
            return Moved(cooled(end, beta), acceptance)

        self.log_likelihood = log_likelihood
        n_models = len(x)
        generators = [torch.Generator(x.device) for _ in range(n_models)]  # of an example, which nobody keeps
        point = self.at(x.new_zeros(n_models, *self.shape))
        step_size = torch.full_like(point.z[..., 0], FIRST_STEP)
        beta = torch.full((), 0.5, dtype=torch.float64, device=x.device)
        self.move = recorded(move, point, self.draw_noise(generators), step_size, beta)

    def at(self, z: Tensor) -> hmc.Point:
        """z (M, S, B, N_z) with log p(x | z) and its gradient."""
        return hmc.at(self.log_likelihood, z)

    def prior_draws(self, generators: list[torch.Generator]) -> Tensor:
        """Exact draws of f_0."""
        return torch.stack([Gaussian.draw_noise(generator, self.shape) for generator in generators])

    def draw_noise(self, generators: list[torch.Generator]) -> Noise:
        return trees.stack([draw_noise(generator, self.shape) for generator in generators])

    def anneal(
        self, start: Tensor, betas: Tensor, step_sizes: Tensor, generators: list[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """From draws (M, S, B, N_z) of the first beta to the last: log weights and mean acceptance, both (M, S, B).

        step_sizes (T - 1, M, 1, B): of the transitions at the betas between the first and the last.
        """
        point = self.at(start)
        log_w = (betas[1] - betas[0]) * point.log_prob
        acceptance = torch.zeros_like(log_w)
        for t, step_size in enumerate(step_sizes, start=1):
            jittered = step_size.expand_as(point.log_prob).contiguous()
            moved = self.move(point, self.draw_noise(generators), jittered, betas[t])
            point = moved.point
            log_w = log_w + (betas[t + 1] - betas[t]) * point.log_prob
            acceptance = acceptance + moved.acceptance / len(step_sizes)
        return log_w, acceptance


def draw_noise(generator: torch.Generator, shape: tuple[int, ...]) -> Noise:
    """The noise of one transition of chains z of this shape (S, B, N_z)."""
    jitter = torch.rand(shape[:-1], generator=generator, device=generator.device)
    return Noise(hmc.draw_noise(generator, shape), 0.5 + jitter)


def heated(point: hmc.Point, beta: Tensor) -> hmc.Point:
    """From log p(x | z) and its gradient to those of log f_beta."""
    grad = beta.to(point.z.dtype) * point.grad - point.z
    return hmc.Point(point.z, standard_normal_log_prob(point.z) + beta * point.log_prob, grad)


def cooled(point: hmc.Point, beta: Tensor) -> hmc.Point:
    """The inverse of `heated`, for beta > 0: a place is evaluated once, for its transition and for the weights."""
    log_likelihood = (point.log_prob - standard_normal_log_prob(point.z)) / beta
    return hmc.Point(point.z, log_likelihood, (point.grad + point.z) / beta.to(point.z.dtype))


def pilot(path: Path, temperatures: int, generators: list[torch.Generator]) -> Tensor:
    """Leapfrog step sizes (T - 1, M, 1, B) for every temperature but the first and the last.

    Chains of their own go through fewer temperatures, a step size per model and point following their acceptance
    towards TARGET; smoothed and interpolated, it is fixed before any chain whose weights count has started.
    """
    betas = schedule(min(temperatures, max(PILOT_MIN, int(PILOT_SHARE * temperatures))), generators[0].device)
    point = path.at(path.prior_draws(generators))
    log_step = torch.full_like(point.log_prob[:, :1], math.log(FIRST_STEP)).to(point.z.dtype)
    found = [log_step]
    for beta in betas[1:-1]:
        step_size = log_step.exp().expand_as(point.log_prob).contiguous()
        moved = path.move(point, path.draw_noise(generators), step_size, beta)
        point = moved.point
        log_step = log_step + GAIN * (moved.acceptance.mean(1, keepdim=True).to(log_step.dtype) - TARGET)
        found.append(log_step)
    return torch.exp(_resampled(torch.stack(found), temperatures - 1))


def _resampled(log_steps: Tensor, n: int) -> Tensor:
    """A moving average over a tenth of the pilot's temperatures (P, M, 1, B), linearly interpolated to n of them."""
    rows = log_steps.flatten(1).T.unsqueeze(1)
    reach = len(log_steps) // 20
    smooth = avg_pool1d(pad(rows, (reach, reach), mode="replicate"), 2 * reach + 1, 1)
    resampled = interpolate(smooth, size=max(n, 1), mode="linear", align_corners=True)[..., :n]
    return resampled.squeeze(1).T.unflatten(1, log_steps.shape[1:])
