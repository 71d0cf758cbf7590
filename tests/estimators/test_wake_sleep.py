"""Wake-sleep: each phase's gradient by finite differences at fixed noise, and what each phase sees."""

import pytest
import torch

from aevb import estimators, trees
from aevb.estimators import aevb, wake_sleep
from aevb.estimators.wake_sleep import Noise, dream
from aevb.models import BernoulliModel, GaussianModel, Params
from aevb.ppca import PPCA
from helpers import (
    assert_close,
    assert_mean,
    finite_differences,
    generator,
    log_prior,
    rejects,
    revealing,
    scramble,
    with_prior,
)

pytestmark = pytest.mark.usefixtures("double")

N_TRAIN, BATCH = 50, 6
MODELS = pytest.mark.parametrize(
    "model", [BernoulliModel(5, 3, 2), GaussianModel(5, 3, 2, -8.0)], ids=["bernoulli", "gaussian"]
)


def problem(model):
    params = scramble(trees.stack([model.init(generator(0))]))
    x = torch.rand(1, BATCH, 5, generator=generator(1))
    noise = trees.stack([wake_sleep.build(model, revealing(), N_TRAIN).draw(generator(2), BATCH)])
    return params, x, noise


def ascended(build, model, params, x, noise) -> Params:
    """The gradient that a step has its optimiser ascend."""
    estimator = build(model, revealing(), N_TRAIN)
    return estimator.step(estimator.init(params), x, noise)[0].params


def check_gradients(build, model):
    """theta: log p(x | z) at z ~ q(z | x) held fixed; phi: log q(z | x) at dreams held fixed; prior M/N on both."""
    params, x, noise = problem(model)
    q = model.encode(params.phi, x)
    z = (q.mu + torch.exp(0.5 * q.log_var) * noise.eps[:, 0]).unsqueeze(1)
    dreamt_z = noise.z
    dreamt_x = model.decode(params.theta, dreamt_z).sample(noise.x)[:, 0]
    if isinstance(model, GaussianModel):
        dreamt_x = dreamt_x.clamp(0, 1)  # docs/deviations.md: dreams are pixels, as in the authors' code

    def wake(p: Params) -> torch.Tensor:
        return model.log_joint(p.theta, x, z).sum() + BATCH / N_TRAIN * log_prior(p)

    def sleep(p: Params) -> torch.Tensor:
        return model.encode(p.phi, dreamt_x).log_prob(dreamt_z[:, 0]).sum() + BATCH / N_TRAIN * log_prior(p)

    expected = Params(
        finite_differences(wake, Params(params.theta, {})).theta,
        finite_differences(sleep, Params({}, params.phi)).phi,
    )
    assert_close(ascended(build, model, params, x, noise), expected, rtol=1e-6, atol=1e-6)


def like_aevb(model, optimiser, n_train):
    """The ELBO's gradient for both: phi learns in the wake phase."""
    inner = aevb.build(model, optimiser, n_train)
    return inner._replace(step=lambda state, x, noise: inner.step(state, x, estimators.Noise(noise.eps)))


def changed(change):
    """Wake-sleep whose step sees changed data or noise."""

    def build(model, optimiser, n_train):
        inner = wake_sleep.build(model, optimiser, n_train)
        return inner._replace(step=lambda state, x, noise: inner.step(state, *change(model, x, noise)))

    return build


def preferring(change):
    """Wake-sleep with another share of the prior."""
    return lambda model, optimiser, n_train: wake_sleep.build(model, with_prior(optimiser, change), n_train)


def sleeps_on(content):
    """Wake-sleep whose sleep phase trains on something else than sampled dreams."""

    def build(model, optimiser, n_train):
        inner = wake_sleep.build(model, optimiser, n_train)

        def step(state, x, noise):
            grads = inner.step(state, x, noise)[0].params
            theta, phi = state.params
            named = {name: w.detach().requires_grad_() for name, w in phi.items()}
            value = model.encode(named, content(model, theta, x, noise)).log_prob(noise.z[:, 0]).sum()
            value = value + BATCH / N_TRAIN * log_prior(Params({}, named))
            phi_grads = torch.autograd.grad(value, list(named.values()))
            return state._replace(params=Params(grads.theta, dict(zip(named, phi_grads, strict=True)))), None

        return inner._replace(step=step)

    return build


@MODELS
def test_wake_and_sleep_gradients_are_those_of_their_objectives(model):
    check_gradients(wake_sleep.build, model)
    # the scaffold of the wrong variants is right where what it sleeps on is right
    check_gradients(sleeps_on(lambda model, theta, x, noise: dream(model, theta, noise)), model)
    rejects(
        lambda build: check_gradients(build, model),
        like_aevb,
        changed(lambda model, x, noise: (x, noise._replace(eps=0 * noise.eps))),  # wake at z = mu
        preferring(lambda prior: 0.0),
        preferring(lambda prior: 1.0),  # not scaled by M/N
        preferring(lambda prior: -prior),
        sleeps_on(lambda model, theta, x, noise: x),  # data instead of dreams
        sleeps_on(lambda model, theta, x, noise: model.decode(theta, noise.z).mean[:, 0]),  # means, not draws
    )


def check_phases_are_separate(build, model):
    """theta sees no dream and phi no data."""
    params, x, noise = problem(model)
    other_x = 1 - x
    other = trees.stack([wake_sleep.build(model, revealing(), N_TRAIN).draw(generator(12), BATCH)])
    grads = ascended(build, model, params, x, noise)
    dreamt_otherwise = ascended(build, model, params, x, Noise(noise.eps, other.z, other.x))
    woken_otherwise = ascended(build, model, params, other_x, Noise(other.eps, noise.z, noise.x))
    assert_close(grads.theta, dreamt_otherwise.theta, rtol=0, atol=0)
    assert_close(grads.phi, woken_otherwise.phi, rtol=0, atol=0)
    for name in ("w_h", "b_h"):
        assert (grads.phi[name] != dreamt_otherwise.phi[name]).any()
        assert (grads.theta[name] != woken_otherwise.theta[name]).any()


@MODELS
def test_theta_learns_nothing_asleep_and_phi_nothing_awake(model):
    check_phases_are_separate(wake_sleep.build, model)
    rejects(lambda build: check_phases_are_separate(build, model), like_aevb)


def check_dreams(dreams):
    """40 000 dreams of one latent point: binary for a Bernoulli decoder, with the decoder's mean."""
    model = BernoulliModel(5, 3, 2)
    theta = scramble(trees.stack([model.init(generator(3))])).theta
    z = torch.tensor([0.5, -1.0]).expand(1, 1, 40_000, 2)
    noise = Noise(z, z, torch.rand(1, 1, 40_000, 5, generator=generator(4)))
    x = dreams(model, theta, noise)
    assert x.shape == (1, 40_000, 5)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert_mean(x[0], model.decode(theta, z).mean[0, 0, 0])


def test_dreams_are_drawn_from_the_decoder():
    check_dreams(dream)
    rejects(
        check_dreams,
        lambda model, theta, noise: model.decode(theta, noise.z).mean[:, 0],
        lambda model, theta, noise: dream(model, theta, noise._replace(z=-noise.z)),
    )


def test_dreams_of_a_gaussian_decoder_have_its_moments():
    model = PPCA(3, 1, 2)
    theta = trees.stack([model.init(generator(5))]).theta
    draw = wake_sleep.build(model, revealing(), N_TRAIN).draw
    x = dream(model, theta, trees.stack([draw(generator(6), 20_000)]))[0]
    covariance = theta["w_h"][0].T @ theta["w_h"][0] + torch.eye(3) * torch.exp(
        torch.tensor(model.noise_log_var)
    )
    centred = x - theta["b_h"][0, 0]
    assert_mean(centred, 0.0)
    assert_mean(centred.unsqueeze(-1) * centred.unsqueeze(-2), covariance)


@MODELS
def test_noise_has_the_family_of_the_decoder(model):
    noise = wake_sleep.build(model, revealing(), N_TRAIN).draw(generator(7), 2000)
    assert_mean(noise.eps[0].square(), 1.0)
    assert_mean(noise.z[0].square(), 1.0)
    assert_mean(noise.x[0], 0.5 if isinstance(model, BernoulliModel) else 0.0)


def test_the_reported_bound_is_the_elbo_of_the_wake_phase():
    model = BernoulliModel(5, 3, 2)
    params, x, noise = problem(model)
    estimator = wake_sleep.build(model, revealing(), N_TRAIN)
    _, info = estimator.step(estimator.init(params), x, noise)
    torch.testing.assert_close(info.bound, aevb.elbo(model, params, x, noise.eps).mean(-1))


def test_the_wake_phase_reads_q_as_a_mean_and_a_log_variance():
    """At sigma = 0 the eps do nothing; at log_var = 0 they are added whole."""
    model = BernoulliModel(5, 3, 2)
    params, x, noise = problem(model)
    zero = {name: torch.zeros_like(w) for name, w in params.phi.items()}
    grads = ascended(wake_sleep.build, model, Params(params.theta, zero), x, noise)
    named = {name: w.clone().requires_grad_() for name, w in params.theta.items()}
    value = model.log_likelihood(named, x, noise.eps).sum() + BATCH / N_TRAIN * log_prior(Params(named, {}))
    expected = torch.autograd.grad(value, list(named.values()))
    assert_close(grads.theta, dict(zip(named, expected, strict=True)), rtol=1e-10, atol=1e-12)
