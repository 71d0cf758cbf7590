"""Row 7 of VERIFICATION.md: forward <= truth <= reverse, from identities that hold for any number of temperatures."""

import math

import pytest
import torch

from aevb import trees
from aevb.certification import simulate
from aevb.evidence import Refusal, annealed, quadrature
from aevb.models import BernoulliModel, GaussianModel, Params
from aevb.ppca import PPCA
from helpers import SDS, assert_mean, equal, generator, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")


def problem(n_latent, n_points, seed=1):
    """A probabilistic PCA model with draws (z, x) of it and the exact log p(x): z is an exact posterior draw."""
    model = PPCA(n_features=6, n_hidden=1, n_latent=n_latent)
    params = trees.stack([model.init(generator(0))])
    z, x = simulate(model, params.theta, n_points, generator(seed))
    return model, params, z, x, model.log_evidence(params.theta, x)


def weights(model, params, x, temperatures, chains, start=None, path=annealed.Path):
    """Log weights (M, S, B) of chains from the prior, or of chains in reverse from `start`."""
    follow = path(model, params.theta, x, chains, 2)
    betas = annealed.schedule(temperatures, x.device)
    steps = annealed.pilot(follow, temperatures, [generator(2)])
    if start is None:
        return follow.anneal(follow.prior_draws([generator(3)]), betas, steps, [generator(4)])[0]
    start = start.unsqueeze(1).expand(-1, chains, -1, -1)
    return follow.anneal(start, betas.flip(0), steps.flip(0), [generator(4)])[0]


# ---------------------------------------------------------------------------------------------- unbiased weights


def check_forward(path):
    """E w = p(x) with few temperatures, where nothing has converged: chains are independent."""
    model, params, _, x, exact = problem(2, 6)
    log_w = weights(model, params, x, 8, 5000, path=path)
    ratio = (log_w[0] - exact).exp()
    assert ratio.std(0).min() > 0.1, "without spread there is nothing to average"
    assert_mean(ratio, 1.0)


def check_reverse(path):
    """E 1/w = 1/p(x) from exact posterior draws, one chain per simulated point: points are independent."""
    model, params, z, x, exact = problem(2, 4000)
    log_w = weights(model, params, x, 8, 1, start=z, path=path)
    ratio = (log_w[0, 0] + exact).exp()
    assert ratio.std() > 0.1
    assert_mean(ratio, 1.0)


class Path(annealed.Path):
    """The right one, whose parts the wrong ones change."""


class Shifted(Path):
    """Weighs each place with the neighbouring step of beta instead of its own: the one at beta = 1 gets lost."""

    def anneal(self, start, betas, steps, generators):
        late = [betas[:1], betas[:-1]] if betas[0] == 0 else [betas[1:], betas[-1:]]
        return super().anneal(start, torch.cat(late), steps, generators)


class Unmoved(Path):
    """Targets the posterior all the way: its transitions do not leave f_beta as it is."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        right = self.move
        self.move = lambda point, noise, step, beta: right(point, noise, step, torch.ones_like(beta))


class Careless(Path):
    """Accepts every proposal, at steps three times as long."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        right = self.move

        def move(point, noise, step, beta):
            sure = noise._replace(hmc=noise.hmc._replace(u=torch.zeros_like(noise.hmc.u)))
            return right(point, sure, 3 * step, beta)

        self.move = move


class NoPrior(Path):
    """Chains that start elsewhere than at the prior."""

    def prior_draws(self, generators):
        return 1.5 * super().prior_draws(generators)


def test_the_weights_of_chains_from_the_prior_have_the_mean_p_x():
    check_forward(Path)
    rejects(check_forward, Shifted, Unmoved, Careless, NoPrior)


def test_the_weights_of_chains_from_the_posterior_have_the_mean_one_over_p_x():
    check_reverse(Path)
    rejects(check_reverse, Shifted, Unmoved, Careless)


def test_one_temperature_is_importance_sampling_from_the_prior():
    model, params, _, x, _ = problem(2, 5)
    path = annealed.Path(model, params.theta, x, 3, 2)
    z = path.prior_draws([generator(3)])
    no_steps = torch.zeros(0, 1, 1, 5)
    log_w, _ = path.anneal(z, annealed.schedule(1, x.device), no_steps, [generator(4)])
    torch.testing.assert_close(log_w, model.log_likelihood(params.theta, x, z), rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------------- the sandwich


def check_sandwich(forward, reverse):
    """log p(x) lies between the means over 300 points, and both are near with many temperatures."""
    model, params, z, x, exact = problem(3, 300)
    settings = {"temperatures": 300, "chains": 2}
    low = forward(model, params, x[0], [generator(5)], **settings).estimate[0] - exact
    high = reverse(model, params, x, z, [generator(6)], **settings).estimate[0] - exact
    error = math.hypot(low.std(), high.std()) / 300**0.5
    assert low.mean() < SDS * error
    assert high.mean() > -SDS * error
    assert (high - low).mean() < 0.1 + SDS * error
    assert error < 0.04


def test_forward_is_below_and_reverse_above_the_truth():
    check_sandwich(annealed.evidence, annealed.reverse)

    def negated(model, params, x, z, *rest, **settings):
        result = annealed.reverse(model, params, x, z, *rest, **settings)
        return result._replace(estimate=-result.estimate)

    def elsewhere(model, params, x, z, *rest, **settings):
        return annealed.reverse(model, params, x, z.flip(1), *rest, **settings)

    for wrong in (negated, elsewhere):
        rejects(lambda reverse: check_sandwich(annealed.evidence, reverse), wrong)

    def sum_of_weights(model, params, x, *rest, **settings):
        result = annealed.evidence(model, params, x, *rest, **settings)
        return result._replace(estimate=result.estimate + math.log(settings["chains"]))

    rejects(lambda forward: check_sandwich(forward, annealed.reverse), sum_of_weights)


def test_more_temperatures_bring_the_estimate_nearer():
    model, params, _, x, exact = problem(5, 200)
    few, many = (
        annealed.evidence(model, params, x[0], [generator(5)], temperatures=n, chains=2).estimate[0] - exact
        for n in (10, 200)
    )
    difference = many - few
    assert difference.mean() > SDS * difference.std() / 200**0.5
    assert abs(many.mean()) < 0.2 * abs(few.mean())


@pytest.mark.parametrize("model", [BernoulliModel(8, 6, 2), GaussianModel(8, 6, 2, -6.0)])
def test_on_a_decoder_it_agrees_with_quadrature(model):
    params = scramble(trees.stack([model.init(generator(0))]), scale=1.5, seed=1)
    _, x = simulate(model, params.theta, 60, generator(7))
    result = annealed.evidence(model, Params(params.theta, {}), x[0], [generator(8)], 400, 4)
    exact = quadrature.evidence(model, params, x[0], [generator(9)])
    assert not exact.refused.any()
    error = (result.estimate - exact.log_prob)[0]
    assert -0.1 - SDS * error.std() / 60**0.5 < error.mean() < SDS * error.std() / 60**0.5
    assert error.std() / 60**0.5 < 0.05


def test_the_acceptance_is_near_the_pilots_target():
    model, params, _, x, _ = problem(5, 50)
    result = annealed.evidence(model, params, x[0], [generator(5)], 200, 4)
    assert 0.7 < result.acceptance.mean() < 0.9


# ------------------------------------------------------------------------------------ stacks, points, refusals


def test_the_pilot_has_draws_of_its_own_and_fixes_the_steps():
    """The same pilot gives the same steps, whatever the chains that follow draw."""
    model, params, _, x, _ = problem(2, 5)
    path = annealed.Path(model, params.theta, x, 3, 2)
    one, other = (annealed.pilot(path, 40, [generator(2)]) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (39, 1, 1, 5)
    assert (one > 0).all()


def test_heating_and_cooling_are_inverse():
    model, params, z, x, _ = problem(3, 10)
    point = annealed.Path(model, params.theta, x, 1, 2).at(z.unsqueeze(1))
    for beta in (1e-6, 0.3, 1.0):
        beta = torch.tensor(beta, dtype=torch.float64)
        again = annealed.cooled(annealed.heated(point, beta), beta)
        torch.testing.assert_close(tuple(again), tuple(point), rtol=1e-7, atol=1e-7)


def two_models():
    model = PPCA(n_features=6, n_hidden=1, n_latent=2)
    params = trees.stack([model.init(generator(m)) for m in range(2)])
    return model, params, simulate(model, trees.take(params, 0).theta, 10, generator(3))[1][0]


def test_models_of_a_stack_and_chunks_of_points_have_their_own_evidence(monkeypatch):
    model, params, x = two_models()
    monkeypatch.setattr(annealed, "CHAINS_AT_A_TIME", 56)  # 10 points = 7 + 3
    result = annealed.evidence(model, params, x, [generator(4), generator(5)], 100, 4)
    exact = torch.stack([model.log_evidence(trees.take(params, m).theta, x[None]) for m in range(2)])
    assert all(field.shape == (2, 10) for field in result)
    assert (result.estimate - exact).abs().max() < 2
    assert (exact[0] - exact[1]).abs().min() > 3
    swapped = trees.concatenate([trees.take(params, 1), trees.take(params, 0)])
    other = annealed.evidence(model, swapped, x, [generator(5), generator(4)], 100, 4)
    torch.testing.assert_close(other.estimate.flip(0), result.estimate, rtol=1e-6, atol=1e-6)


def test_a_diverged_model_is_refused_alone():
    model, params, x = two_models()
    well = annealed.evidence(model, params, x, [generator(4), generator(5)], 20, 2)
    params.theta["w_h"][1] = math.nan
    result = annealed.evidence(model, params, x, [generator(4), generator(5)], 20, 2)
    assert (result.refusal[1] == Refusal.NOT_FINITE).all()
    assert torch.isnan(result.log_prob[1]).all()
    assert equal(result.estimate[0], well.estimate[0])


def test_a_chain_without_any_weight_leaves_no_estimate():
    log_w = torch.zeros(1, 4, 2).index_fill(2, torch.tensor(1), 0.5)
    log_w[0, 3, 0] = -math.inf
    result = annealed._mean(log_w, torch.ones(1, 4, 2), 1)
    assert result.refusal.tolist() == [[Refusal.SPREAD, Refusal.NONE]]


def test_chains_that_disagree_give_a_bound_and_no_estimate():
    """Two temperatures are far too few: the log weights spread by many nats."""
    model, params, _, x, _ = problem(5, 20)
    result = annealed.evidence(model, params, x[0], [generator(5)], 2, 4)
    assert (result.refusal == Refusal.SPREAD).double().mean() > 0.8
    assert torch.isfinite(result.estimate).all()
    assert math.isnan(result.summary(0, annealed.DIRECTION)["log_likelihood"])
    assert math.isfinite(result.summary(0, annealed.DIRECTION)["lower_bound"])
