"""Rows 4 and 5 of VERIFICATION.md: the integrator, the transition's invariance, its rejections, its step size.

Whole draws are tested in evidence/test_posterior.py.
"""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

import trained
from aevb import hmc, trees
from aevb.hmc import Noise, Point
from aevb.models import BernoulliModel
from helpers import assert_mean, generator, randn, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")


def quartic(z):
    """Anharmonic and coupled: leapfrog is exact in nothing here."""
    return -0.25 * z.pow(4).sum(-1) - 0.5 * z.sum(-1).square() + z[..., 0]


def standard(z):
    return -0.5 * z.square().sum(-1)


# ------------------------------------------------------------------------------------------------- leapfrog


def euler(log_prob, start, momentum, step_size, n_steps):
    """Symplectic Euler: volume-preserving, but neither reversible nor of second order."""
    point, eps = start, step_size.unsqueeze(-1)
    for _ in range(n_steps):
        momentum = momentum + eps * point.grad
        point = hmc.at(log_prob, point.z + eps * momentum)
    return point, momentum


def friction(log_prob, start, momentum, step_size, n_steps):
    """Leapfrog that loses momentum: not volume-preserving."""
    end, momentum = hmc.leapfrog(log_prob, start, momentum, step_size, n_steps)
    return end, 0.9 * momentum


def check_reversible(leapfrog):
    z, r, step = randn(50, 3, seed=1).double(), randn(50, 3, seed=2).double(), torch.full((50,), 0.1)
    end, momentum = leapfrog(quartic, hmc.at(quartic, z), r, step, 10)
    back, returned = leapfrog(quartic, end, -momentum, step, 10)
    assert (end.z - z).abs().max() > 0.1
    assert (back.z - z).abs().max() < 1e-10
    assert (returned + r).abs().max() < 1e-10


def test_leapfrog_runs_back_to_its_start():
    check_reversible(hmc.leapfrog)
    rejects(check_reversible, euler, friction)


def energy_error(leapfrog, log_prob, z, r, eps, n_steps):
    end, momentum = leapfrog(log_prob, hmc.at(log_prob, z), r, torch.full(z.shape[:-1], eps), n_steps)
    return 0.5 * (momentum.square().sum(-1) - r.square().sum(-1)) - (end.log_prob - log_prob(z))


def check_second_order(leapfrog):
    """Trajectories of length 1 at steps 1/10 ... 1/80: the slope of log |dH| against log eps."""
    z, r = randn(200, 3, seed=3).double(), randn(200, 3, seed=4).double()
    counts = [10, 20, 40, 80]
    errors = [energy_error(leapfrog, quartic, z, r, 1 / n, n).square().mean().sqrt().item() for n in counts]
    slope = math.log(errors[0] / errors[-1]) / math.log(counts[-1] / counts[0])
    assert 1.8 < slope < 2.2


def test_energy_error_is_of_second_order_in_the_step():
    check_second_order(hmc.leapfrog)
    rejects(check_second_order, euler, friction)


def check_energy_identity(leapfrog):
    """E exp(-dH) = 1 over exact draws: volume is preserved (Neal 2010, eq. 5.9)."""
    z, r = (torch.randn(20_000, 3, generator=generator(seed)) for seed in (5, 6))
    dh = energy_error(leapfrog, standard, z, r, 0.7, 3)
    assert dh.std() > 0.1, "without energy errors there is nothing to average"
    assert_mean(torch.exp(-dh), 1.0)


def test_energy_errors_average_to_one_over_exact_draws():
    check_energy_identity(hmc.leapfrog)
    rejects(check_energy_identity, friction)


def test_each_chain_has_its_own_step_size():
    z, r, steps = (
        randn(4, 2, seed=7).double(),
        randn(4, 2, seed=8).double(),
        torch.tensor([0.01, 0.1, 0.2, 0.3]),
    )
    together, _ = hmc.leapfrog(quartic, hmc.at(quartic, z), r, steps, 5)
    for n in range(4):
        alone, _ = hmc.leapfrog(quartic, hmc.at(quartic, z[n : n + 1]), r[n : n + 1], steps[n : n + 1], 5)
        torch.testing.assert_close(together.z[n : n + 1], alone.z, rtol=1e-12, atol=1e-14)


# -------------------------------------------------------------------------------------------- invariance


def tempered(log_prob, start, noise, step_size, n_steps):
    """Aims at the target to the power 1.1."""
    hot = lambda z: 1.1 * log_prob(z)  # noqa: E731
    end, acceptance = hmc.transition(hot, hmc.at(hot, start.z), noise, step_size, n_steps)
    return hmc.at(log_prob, end.z), acceptance


def decided_by(probability):
    """A transition that accepts with probability(dH)."""

    def transition(log_prob, start, noise, step_size, n_steps):
        end, momentum = hmc.leapfrog(log_prob, start, noise.momentum, step_size, n_steps)
        dh = 0.5 * (momentum.square().sum(-1) - noise.momentum.square().sum(-1)) - (
            end.log_prob - start.log_prob
        )
        acceptance = probability(dh)
        accept = noise.u < acceptance
        return Point(
            torch.where(accept.unsqueeze(-1), end.z, start.z),
            torch.where(accept, end.log_prob, start.log_prob),
            torch.where(accept.unsqueeze(-1), end.grad, start.grad),
        ), acceptance

    return transition


wrong_sign = decided_by(lambda dh: torch.exp(dh).clamp(max=1))
always = decided_by(torch.ones_like)
nan_accepted = decided_by(lambda dh: torch.exp(-dh).clamp(max=1).nan_to_num(nan=1.0))


def advance(transition, log_prob, z, eps, n_leapfrog, n_transitions, seed):
    source, point = generator(seed), hmc.at(log_prob, z)
    step = torch.full(z.shape[:-1], eps)
    for _ in range(n_transitions):
        point, _ = transition(log_prob, point, hmc.draw_noise(source, tuple(z.shape)), step, n_leapfrog)
    return point.z


COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)


def check_invariant(transition):
    """Chains that start at exact draws of a correlated Gaussian have its moments after 10 transitions."""
    target = MultivariateNormal(torch.tensor([1.0, -1.0]), COVARIANCE)
    deviations = torch.randn(20_000, 2, generator=generator(9)) @ torch.linalg.cholesky(COVARIANCE).T
    z = advance(transition, target.log_prob, target.mean + deviations, 0.5, 4, 10, seed=10)
    centred = z - target.mean
    assert_mean(centred, 0.0)
    assert_mean(centred.unsqueeze(-1) * centred.unsqueeze(-2), COVARIANCE)


def test_a_transition_leaves_its_target_invariant():
    check_invariant(hmc.transition)
    rejects(check_invariant, tempered, wrong_sign, always)


def scrambled():
    """A decoder with large weights: the posterior is far from Gaussian."""
    model = BernoulliModel(n_features=8, n_hidden=6, n_latent=2)
    return model, scramble(trees.stack([model.init(generator(0))]), scale=1.5, seed=1).theta, 0.5


def trained_on_digits():
    model, params, _ = trained.on_digits(2)
    return model, params.theta, 0.3


def check_joint(transition, decoder):
    """z* ~ p(z), x ~ p(x | z*) makes z* an exact posterior draw, with which HMC's z must be exchangeable given x.

    Functions of (z, x) are compared pair by pair.
    """
    n_points = 20_000
    model, theta, step_size = decoder()
    source = generator(11)
    z_exact = torch.randn(1, n_points, 2, generator=source)
    p = model.decode(theta, z_exact.unsqueeze(1))
    x = p.sample(torch.rand(1, 1, n_points, model.n_features, generator=source)).squeeze(1)

    def log_joint(z):
        return model.log_joint(theta, x, z.unsqueeze(1)).squeeze(1)

    z = advance(transition, log_joint, z_exact, step_size, 5, 12, seed=12)
    assert (z != z_exact).any(-1).double().mean() > 0.9

    def features(z):
        z, cross = z[0], z[0].unsqueeze(-1) * x[0].unsqueeze(-2)
        squares = torch.stack([z[:, 0] ** 2, z[:, 1] ** 2, z[:, 0] * z[:, 1]], -1)
        return torch.cat([z, squares, cross.flatten(1), log_joint(z[None])[0].unsqueeze(-1)], -1)

    difference = features(z) - features(z_exact)
    assert_mean(difference[:, difference.std(0) > 0], 0.0)  # a pixel that is never on says nothing


@pytest.mark.parametrize("decoder", [scrambled, trained_on_digits])
def test_on_a_decoder_hmc_draws_are_exchangeable_with_exact_posterior_draws(decoder):
    check_joint(hmc.transition, decoder)
    rejects(lambda wrong: check_joint(wrong, decoder), tempered, wrong_sign)


def test_a_transition_returns_the_target_and_gradient_of_where_it_stands():
    z = randn(30, 3, seed=13).double()
    noise = hmc.draw_noise(generator(14), (30, 3))
    moved, acceptance = hmc.transition(quartic, hmc.at(quartic, z), noise, torch.full((30,), 0.6), 5)
    stayed = (moved.z == z).all(-1)
    assert 0 < stayed.sum() < 30, "both outcomes must occur"
    assert torch.equal(stayed, noise.u >= acceptance)
    again = hmc.at(quartic, moved.z)
    torch.testing.assert_close(tuple(moved), tuple(again), rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------------------------------- non-finite energies


def check_rejects_non_finite(transition):
    """Chains 1, 2, 3 leave the start for a place where log p is NaN, +inf or -inf; chain 0 is well."""
    start = torch.full((4, 2), 0.1)

    def log_prob(z):
        bad = torch.tensor([0.0, math.nan, math.inf, -math.inf])
        away = (z.detach() != start).any(-1)
        return torch.where(away, standard(z) + bad, standard(z))

    noise = Noise(torch.ones(4, 2), torch.full((4,), 1e-6))
    moved, acceptance = transition(log_prob, hmc.at(log_prob, start), noise, torch.full((4,), 0.1), 3)
    assert acceptance[0] > 0.9
    assert acceptance[1:].tolist() == [0.0, 0.0, 0.0]
    assert (moved.z[0] != start[0]).all()
    assert torch.equal(moved.z[1:], start[1:])
    assert all(torch.isfinite(value).all() for value in moved)


def test_a_non_finite_energy_is_a_rejection_with_acceptance_zero():
    check_rejects_non_finite(hmc.transition)
    rejects(
        check_rejects_non_finite,
        nan_accepted,  # the classic bug: NaN becomes acceptance 1
        decided_by(lambda dh: torch.exp(-dh).clamp(max=1)),  # NaN stays NaN, and poisons the step size
    )


def test_a_nan_gradient_is_a_rejection_too():
    start = torch.zeros(1, 2)

    def log_prob(z):
        return (
            standard(z) + torch.sqrt(z[..., 0] - 1e-3) * 0
        )  # NaN, and a NaN gradient, at and below the start

    noise = Noise(torch.ones(1, 2), torch.zeros(1))
    point = Point(start, torch.zeros(1), torch.zeros(1, 2))
    moved, acceptance = hmc.transition(log_prob, point, noise, torch.full((1,), 1e-5), 3)
    assert acceptance.item() == 0
    assert torch.equal(moved.z, start)


def test_a_rejected_non_finite_energy_shrinks_the_step():
    state = hmc.dual_averaging(torch.full((1,), 0.1))
    for _ in range(20):
        state = hmc.adapt(state, torch.zeros(1))
    assert state.log_step_averaged.exp() < 0.01


# -------------------------------------------------------------------------------------------------- adaptation


def check_reaches_target(adapt):
    """2 models, 100 points, 4 chains of each, on Gaussians whose widths differ by 100. A step per point, adapted on
    its chains together and frozen after 240 transitions, has them accept 90 per cent."""
    widths = torch.logspace(-1, 1, 100)

    def log_prob(z):
        return standard(z / widths.unsqueeze(-1))

    point, source = hmc.at(log_prob, torch.zeros(2, 4, 100, 2)), generator(15)
    state = hmc.dual_averaging(torch.full((2, 100), hmc.INITIAL_STEP))
    seen = []
    for iteration in range(300):
        step = state.log_step if iteration < 240 else state.log_step_averaged
        noise = hmc.draw_noise(source, (2, 4, 100, 2))
        point, acceptance = hmc.transition(
            log_prob, point, noise, step.exp().unsqueeze(1).expand(2, 4, 100), 4
        )
        if iteration < 240:
            state = adapt(state, acceptance.mean(1))
        else:
            seen.append(acceptance)
    acceptance = torch.stack(seen).mean((0, 2))
    assert abs(acceptance.mean().item() - 0.9) < 0.03
    assert ((acceptance > 0.75) & (acceptance < 0.99)).double().mean() > 0.9  # point by point, not on average


def test_dual_averaging_reaches_90_per_cent_acceptance_whatever_the_width():
    check_reaches_target(hmc.adapt)
    rejects(
        check_reaches_target,
        lambda state, acceptance: hmc.adapt(state, acceptance, 0.6),
        lambda state, acceptance: hmc.adapt(state, acceptance, 0.99),
        lambda state, acceptance: hmc.adapt(state, 1.8 - acceptance),  # the wrong way
        lambda state, acceptance: state,  # not at all
        lambda state, acceptance: hmc.adapt(state, acceptance.mean().expand_as(acceptance)),  # one for all
    )


def test_dual_averaging_is_the_published_recursion():
    """Hoffman & Gelman 2014, eq. 6: x = mu - sqrt(t)/gamma 1/(t + t0) sum(delta - alpha), averaged with t^-kappa."""
    state = hmc.dual_averaging(torch.tensor([0.2]))
    total, averaged, mu = 0.0, 0.0, math.log(2.0)
    weights: list[float] = []
    for t, alpha in enumerate([0.3, 1.0, 0.7, 0.0, 0.95], start=1):
        state = hmc.adapt(state, torch.tensor([alpha]), 0.8)
        # the running mean with weight 1/(t + t0) written out as the sum of its terms
        weights = [w * (1 - 1 / (t + 10)) for w in weights] + [1 / (t + 10)]
        total = sum(w * (0.8 - a) for w, a in zip(weights, [0.3, 1.0, 0.7, 0.0, 0.95], strict=False))
        log_step = mu - math.sqrt(t) / 0.05 * total
        averaged = t**-0.75 * log_step + (1 - t**-0.75) * averaged
        assert state.log_step.item() == pytest.approx(log_step, rel=1e-12)
        assert state.log_step_averaged.item() == pytest.approx(averaged, rel=1e-12)


def test_noise_is_normal_momentum_and_uniform_decisions():
    noise = hmc.draw_noise(generator(19), (20_000, 3))
    assert_mean(noise.momentum, 0.0)
    assert_mean(noise.momentum.square(), 1.0)
    assert noise.u.shape == (20_000,)
    assert_mean(noise.u, 0.5)
    assert noise.u.min() >= 0
    assert noise.u.max() < 1
