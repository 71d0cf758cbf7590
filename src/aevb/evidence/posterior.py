"""Draws from the posterior p(z | x) of every data point, for N_z < 5.

Several chains per point alternate two moves that leave the posterior as it is: a jump, whose proposal is a mixture of
Gaussians fitted to prior draws that were resampled with odds p(x | z), and a transition of Hamiltonian Monte Carlo
with a step size per point. HMC alone stays in the mode it starts in, and where a point has several the evidence is
then wrong by the log of that mode's share (docs/decisions/0004).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from aevb import UserError, hmc, trees
from aevb.distributions import Gaussian, standard_normal_log_prob
from aevb.evidence import mixture, nodes
from aevb.evidence.mixture import Mixture
from aevb.evidence.recorded import recorded
from aevb.models import Model, Params
from aevb.streams import stream

MAX_LATENT = 4
CHAINS = 4
CANDIDATES = 2**16  # prior draws that all points share
RESAMPLED = 256  # of them per point
AT_ONCE = 50  # points resampled at a time: bounds memory
JUMP_COMPONENTS = 4
JUMP_SCALE = 1.3  # of the proposal's covariances: its tails must reach beyond the posterior's
ADAPTED_SHARE = 0.8  # of the warm-up; the rest is run at the frozen step size and discarded


class Draws(NamedTuple):
    """n draws of C chains for M models and B points."""

    z: Tensor  # (n, C, M, B, N_z)
    log_joint: Tensor  # (n, C, M, B), log p(x, z) in nats
    acceptance: Tensor  # (M, B), mean acceptance probability of HMC


class Noise(NamedTuple):
    """Everything random about one jump and one transition; M models, C chains, B points."""

    eps: Tensor  # (M, C, B, N_z)
    component: Tensor  # (M, C, B), U(0, 1)
    u: Tensor  # (M, C, B), U(0, 1), decides the jump
    hmc: hmc.Noise
    jitter: Tensor  # (M, C, B), U(.8, 1.2)


class Moved(NamedTuple):
    point: hmc.Point
    acceptance: Tensor  # (M, C, B), HMC's probability


def draw(
    model: Model,
    params: Params,
    x: Tensor,
    generators: list[torch.Generator],
    n: int,
    leapfrogs: int = 4,
    acceptance: float = 0.9,
    warm_up: int = 200,
) -> Draws:
    """n draws of each of CHAINS chains for every point x (B, D) and each of M models; one generator per model.

    warm_up: transitions per point, all its chains together, after which the step size has been adapted to the target
    acceptance by dual averaging, frozen, and run for a fifth more. Later transitions jitter it by U(.8, 1.2)
    lest a trajectory close on itself. n counts the draws kept of each chain.

    Raises UserError when N_z > 4: 2^16 prior draws do not find the posterior there.
    """
    if model.n_latent > MAX_LATENT:
        raise UserError(
            f"Posterior draws for the evidence are refused for N_z = {model.n_latent}: they are trusted for at most "
            f"{MAX_LATENT} latent dimensions (the paper uses Appendix D below 5). Take `annealed` or `importance`."
        )
    n_models = len(generators)
    x_models = x.expand(n_models, -1, -1)

    def log_prob(z: Tensor) -> Tensor:
        return model.log_joint(params.theta, x_models, z)

    start, proposal = prepare(model, params, x, generators)

    def move(point: hmc.Point, noise: Noise, step_size: Tensor) -> Moved:
        point, _ = jump(log_prob, point, proposal, noise)
        jittered = step_size.unsqueeze(1) * noise.jitter
        return Moved(*hmc.transition(log_prob, point, noise.hmc, jittered, leapfrogs))

    def draw_all() -> Noise:
        return trees.stack([draw_noise(generator, tuple(start.shape[1:])) for generator in generators])

    point = hmc.at(log_prob, start)
    adaptation = hmc.dual_averaging(torch.full_like(point.log_prob[:, 0], hmc.INITIAL_STEP))
    step_size = adaptation.log_step.exp()
    replay = recorded(move, point, draw_all(), step_size)
    n_warm_up = -(-warm_up // CHAINS)
    kept: list[Moved] = []
    for iteration in range(n_warm_up + n):
        moved = replay(point, draw_all(), step_size)
        point = moved.point
        if iteration < ADAPTED_SHARE * n_warm_up:
            adaptation = hmc.adapt(adaptation, moved.acceptance.mean(1), acceptance)
            step_size = adaptation.log_step.exp()
        else:
            step_size = adaptation.log_step_averaged.exp()
        if iteration >= n_warm_up:
            kept.append(moved)
    return _collect(kept)


def _collect(kept: list[Moved]) -> Draws:
    z = torch.stack([moved.point.z for moved in kept]).double()
    log_joint = torch.stack([moved.point.log_prob for moved in kept]).double()
    acceptance = torch.stack([moved.acceptance for moved in kept])
    return Draws(z.transpose(1, 2), log_joint.transpose(1, 2), acceptance.mean((0, 2)))


def prepare(
    model: Model, params: Params, x: Tensor, generators: list[torch.Generator]
) -> tuple[Tensor, Mixture]:
    """Where the chains start, (M, C, B, N_z), and the mixture that proposes their jumps."""
    # in no order: of a low-discrepancy sequence, regular resampling would take neighbours
    prior_draws = Gaussian.draw_noise(
        stream(x.device, 0, "candidates"), (CANDIDATES, model.n_latent)
    ).double()
    with torch.no_grad():
        log_odds = nodes.log_likelihood(model, params.theta, x, prior_draws)
    resampled = resample(prior_draws, log_odds, generators)
    eps = torch.stack([Gaussian.draw_noise(g, tuple(resampled[:, 0].shape)) for g in generators], 1)
    # few distinct draws are left of a narrow posterior: each stands for the room between it and its neighbours
    log_spacing = (
        -(torch.tensor(float(CANDIDATES)).log() + standard_normal_log_prob(resampled)) / model.n_latent
    )
    cloud = resampled + 0.5 * log_spacing.exp().unsqueeze(-1) * eps
    proposal = mixture.fit(cloud, JUMP_COMPONENTS, generators).scaled(JUMP_SCALE)
    start = resampled[:: RESAMPLED // CHAINS].transpose(0, 1)
    return start.to(x.dtype).contiguous(), proposal


def resample(z: Tensor, log_odds: Tensor, generators: list[torch.Generator]) -> Tensor:
    """RESAMPLED of the draws z (G, N_z) for each model and point, with odds log_odds (M, G, B): (., M, B, N_z).

    Systematic resampling: a draw of probability p is taken p RESAMPLED times, up or down to a whole number.
    """
    n_points = log_odds.shape[-1]
    offset = torch.stack([torch.rand(n_points, 1, generator=g, device=g.device) for g in generators]).double()
    ladder = torch.arange(RESAMPLED, device=z.device, dtype=torch.float64)
    steps = (ladder + offset) / RESAMPLED
    chosen = []
    for odds, at in zip(log_odds.split(AT_ONCE, -1), steps.split(AT_ONCE, 1), strict=True):
        reached = torch.softmax(odds.double().transpose(1, 2).contiguous(), -1).cumsum(-1)
        chosen.append(torch.searchsorted(reached, at.contiguous()).clamp(max=len(z) - 1))
    return z[torch.cat(chosen, 1)].permute(2, 0, 1, 3)


def draw_noise(generator: torch.Generator, shape: tuple[int, ...]) -> Noise:
    """The noise of one jump and one transition of chains z of this shape (C, B, N_z)."""
    eps = Gaussian.draw_noise(generator, shape)
    component, u, jitter = torch.rand((3, *shape[:-1]), generator=generator, device=generator.device)
    return Noise(eps, component, u, hmc.draw_noise(generator, shape), 0.8 + 0.4 * jitter)


def jump(
    log_prob: hmc.LogProb, start: hmc.Point, proposal: Mixture, noise: Noise
) -> tuple[hmc.Point, Tensor]:
    """An independence Metropolis step: z' ~ q, accepted with odds p(z') q(z) / (p(z) q(z')).

    Returns the points and whether each was accepted, (M, C, B).
    """
    eps, component = noise.eps.transpose(0, 1).double(), noise.component.transpose(0, 1).double()
    z = proposal.sample(eps, component)
    log_q = proposal.log_prob(z).transpose(0, 1)
    log_q_start = proposal.log_prob(start.z.transpose(0, 1).double()).transpose(0, 1)
    end = hmc.at(log_prob, z.transpose(0, 1).to(start.z.dtype))
    log_ratio = end.log_prob.double() - start.log_prob.double() + log_q_start - log_q
    accept = noise.u.double().log() < log_ratio  # never where a density is not a number
    return hmc.choose(accept, end, start), accept
