"""Monte Carlo EM: the M-step's gradient and updates, the chains, their step sizes, and what is counted."""

import pytest
import torch

from aevb import hmc, trees
from aevb.estimators import mcem
from aevb.models import BernoulliModel, Params
from aevb.optimisers import Optimiser, adagrad
from exact_ppca import PPCA
from helpers import (
    assert_close,
    assert_mean,
    finite_differences,
    generator,
    log_prior,
    pure,
    rejects,
    revealing,
    scramble,
    with_prior,
)

pytestmark = pytest.mark.usefixtures("double")

MODEL, N = BernoulliModel(5, 3, 2), 12
FROZEN = Optimiser(
    init=lambda params: torch.zeros(1), ascend=lambda state, params, grads, prior: (params, state)
)


def problem(optimiser, build=mcem.build, **settings):
    """An estimator, a state with decoder weights of order one and chains at random places, and the data."""
    estimator = build(MODEL, optimiser, N, **settings)
    state = estimator.init(scramble(trees.stack([MODEL.init(generator(0))])))
    z = torch.randn(1, N, 2, generator=generator(1))
    return estimator, state._replace(z=z), torch.rand(1, N, 5, generator=generator(2))


def draw(estimator, seed: int) -> hmc.Noise:
    return trees.stack([estimator.draw(generator(seed), N)])


def refusing(estimator, seed: int = 3) -> hmc.Noise:
    """Noise with which no proposal is accepted: u = 1 is below no probability."""
    noise = draw(estimator, seed)
    return noise._replace(u=torch.ones_like(noise.u))


def complete_log_likelihood(x, z):
    """sum_i log p(x_i, z_i) + log p(theta): the whole prior, since a step sees all N points."""
    return lambda p: MODEL.log_joint(p.theta, x, z.unsqueeze(1)).sum() + log_prior(p)


def check_m_step_gradient(build, optimiser=revealing()):  # noqa: B008
    estimator, state, x = problem(optimiser, build, n_updates=1)
    new, info = estimator.step(state, x, refusing(estimator))
    theta = Params(state.params.theta, {})
    expected = finite_differences(complete_log_likelihood(x, state.z), theta)
    assert_close(new.params, expected, rtol=1e-6, atol=1e-6)
    mean_log_joint = MODEL.log_joint(state.params.theta, x, state.z.unsqueeze(1)).mean()
    torch.testing.assert_close(info.surrogate.squeeze(), mean_log_joint)


def changed(change):
    """MCEM whose step sees a changed state and data."""

    def build(model, optimiser, n_train, **settings):
        inner = mcem.build(model, optimiser, n_train, **settings)
        return inner._replace(step=lambda state, x, noise: inner.step(*change(state, x), noise))

    return build


forgetful = changed(lambda state, x: (state._replace(z=torch.zeros_like(state.z)), x))  # chains restart
crossed = changed(lambda state, x: (state, x.flip(1)))  # a point's chain with another's pixels


def test_the_m_step_ascends_the_complete_log_likelihood_with_the_map_prior():
    check_m_step_gradient(mcem.build)
    rejects(check_m_step_gradient, forgetful, crossed)
    rejects(
        lambda change: check_m_step_gradient(mcem.build, with_prior(revealing(), change)),
        lambda prior: 0.0,
        lambda prior: 0.5 * prior,
        lambda prior: -prior,
    )


def test_memory_chunks_change_nothing(monkeypatch):
    estimator, state, x = problem(pure(adagrad(torch.tensor([0.1]), warm_up=0)))
    noise = draw(estimator, 4)
    whole = estimator.step(state, x, noise)
    monkeypatch.setattr(mcem, "CHUNK", 5)  # 12 = 5 + 5 + 2
    assert_close(estimator.step(state, x, noise)[0], whole[0], rtol=1e-10, atol=1e-12)
    assert_close(estimator.step(state, x, noise)[1], whole[1], rtol=1e-10, atol=1e-12)


def check_five_updates(settings):
    """One M-step is five Adagrad updates at the sample, each at the weights that the one before left."""
    optimiser = pure(adagrad(torch.tensor([0.1]), warm_up=2))
    estimator, state, x = problem(optimiser, **settings)
    new, _ = estimator.step(state, x, refusing(estimator))
    params = Params(state.params.theta, {})
    opt_state = optimiser.init(params)
    for _ in range(5):
        named = {name: w.detach().requires_grad_() for name, w in params.theta.items()}
        value = complete_log_likelihood(x, state.z)(Params(named, {}))
        grads = dict(zip(named, torch.autograd.grad(value, list(named.values())), strict=True))
        params, opt_state = optimiser.ascend(
            opt_state, params, Params(grads, {}), 0.0
        )  # grads hold the prior
    params = Params({name: w.detach() for name, w in params.theta.items()}, {})
    assert_close(new.params, params, rtol=1e-9, atol=1e-11)
    assert new.optimiser.seen.item() == 5


def test_the_m_step_is_five_adagrad_updates():
    check_five_updates({})
    rejects(check_five_updates, {"n_updates": 4}, {"n_updates": 6}, {"build": forgetful})


def check_chains_persist(build):
    """After a step that moves them, chains whose proposals are all refused stay where they were, bit for bit."""
    estimator, state, x = problem(FROZEN, build)
    moved, _ = estimator.step(state, x, draw(estimator, 5))
    assert (moved.z != state.z).any(-1).double().mean() > 0.5
    stayed, _ = estimator.step(moved, x, refusing(estimator))
    assert torch.equal(stayed.z, moved.z)


def test_chains_persist_between_iterations():
    check_chains_persist(mcem.build)
    rejects(check_chains_persist, forgetful)


def test_the_e_step_is_one_transition_of_ten_leapfrog_steps_on_each_points_posterior():
    def check(n_leapfrog):
        estimator, state, x = problem(FROZEN)
        noise = draw(estimator, 6)
        new, _ = estimator.step(state, x, noise)

        def log_prob(z):
            return MODEL.log_joint(state.params.theta, x, z.unsqueeze(1)).squeeze(1)

        point, acceptance = hmc.transition(
            log_prob, hmc.at(log_prob, state.z), noise, state.log_step.exp(), n_leapfrog
        )
        torch.testing.assert_close(new.z, point.z)
        torch.testing.assert_close(new.acceptance, acceptance.mean(-1))

    check(10)
    rejects(check, 9, 11)


def test_an_iteration_counts_15_samples_for_each_of_n_points():
    estimator = mcem.build(MODEL, FROZEN, N)
    assert estimator.full_batch
    assert estimator.evaluations == 15
    assert mcem.build(MODEL, FROZEN, N, n_leapfrog=4, n_updates=3).evaluations == 7


LINEAR = PPCA(n_features=6, n_hidden=1, n_latent=2)
POINTS = 150


def settled(build, iterations=250, kept=100, **settings):
    """Acceptance and positions of the last iterations on probabilistic PCA whose weights stand still."""
    estimator = build(LINEAR, FROZEN, POINTS, **settings)
    params = trees.stack([LINEAR.init(generator(7))])
    x = LINEAR.sample(params.theta, generator(8), POINTS)[1]
    state, source = estimator.init(params), generator(9)
    acceptance, positions = [], []
    for n in range(iterations):
        state, _ = estimator.step(state, x, trees.stack([estimator.draw(source, POINTS)]))
        if n >= iterations - kept:
            acceptance.append(state.acceptance)
            positions.append(state.z[0])
    return params, x, torch.cat(acceptance), torch.stack(positions), state


def check_acceptance(build):
    _, _, acceptance, _, state = settled(build)
    assert abs(acceptance.mean().item() - 0.9) < 0.03
    assert state.log_step.std() > 0, "each chain has a step size of its own"


def test_step_sizes_approach_90_per_cent_acceptance():
    def backwards(model, optimiser, n_train):
        """Moves the step size against the recursion."""
        inner = mcem.build(model, optimiser, n_train)

        def step(state, x, noise):
            new, info = inner.step(state, x, noise)
            return new._replace(log_step=2 * state.log_step - new.log_step), info

        return inner._replace(step=step)

    def standing_still(model, optimiser, n_train):
        """Never adapts."""
        inner = mcem.build(model, optimiser, n_train)

        def step(state, x, noise):
            new, info = inner.step(state, x, noise)
            return new._replace(log_step=state.log_step), info

        return inner._replace(step=step)

    check_acceptance(mcem.build)
    rejects(check_acceptance, backwards, standing_still, lambda *args: mcem.build(*args, acceptance=0.6))


def test_the_chains_draw_from_the_exact_posterior():
    """150 independent chains, each 100 times: the averages over a chain are 150 draws of known mean."""

    def check(build):
        params, x, _, z, _ = settled(build)
        posterior = LINEAR.posterior(params.theta, x)
        centred = z - posterior.mean
        assert_mean(centred.mean(0), 0.0)
        second = centred.unsqueeze(-1) * centred.unsqueeze(-2)
        assert_mean(second.mean(0), posterior.covariance_matrix[0])

    check(mcem.build)
    rejects(check, crossed)


def test_there_is_no_encoder_and_no_bound():
    estimator, state, x = problem(adagrad(torch.tensor([0.1])))
    new, info = estimator.step(state, x, draw(estimator, 10))
    assert new.params.phi == {}
    assert torch.isnan(info.bound).all()
