"""The suite's posterior draws beside blackjax's, on a trained decoder whose density is written a second time, in JAX.

blackjax runs NUTS on JAX's gradients; the two share the decoder's weights, the pixels and where the chains start,
which is the prior. Points whose posterior has several modes, 7 in 100, are left out: chains rarely cross between
them, and the share of each mode would be that of the starts. Standard errors include the draws' autocorrelation.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from torch.nn.functional import max_pool2d

from aevb import data, hmc, trees
from aevb.bounds import mean_elbo, to_unit
from aevb.distributions import standard_normal_log_prob
from aevb.estimators import aevb
from aevb.models import BernoulliModel
from aevb.optimisers import adagrad
from helpers import SDS, generator, rejects

blackjax = pytest.importorskip("blackjax", reason="blackjax is in the extra `test`")
jax = pytest.importorskip("jax", reason="jax is in the extra `test`, and blackjax needs it")

pytestmark = pytest.mark.usefixtures("double")

MODEL = BernoulliModel(n_features=64, n_hidden=20, n_latent=2)
POINTS, CHAINS, DRAWS = 20, 40, 150
LIMIT = SDS + 1.5  # for 126 comparisons, by standard errors that chains this short make a tenth too small


@cache
def digits() -> data.Split:
    return data.prepare("digits", Path())


@cache
def decoder():
    """The weights after AEVB has seen scikit-learn's digits 200 times."""
    x = to_unit(torch.from_numpy(digits().train), digits().scale)
    estimator = aevb.build(MODEL, adagrad(torch.tensor([0.2])), len(x))
    state, source = estimator.init(trees.stack([MODEL.init(generator(0))])), generator(1)
    for _ in range(3000):
        batch = x[torch.randint(len(x), (1, 100), generator=source)]
        state, _ = estimator.step(state, batch, trees.stack([estimator.draw(source, 100)]))
    return state.params


def test_the_decoder_has_learned_more_than_how_often_each_pixel_is_on():
    train, test = (to_unit(torch.from_numpy(x), digits().scale) for x in (digits().train, digits().test))
    often = train.mean(0).clamp(1e-3, 1 - 1e-3)
    by_frequency = torch.xlogy(test, often) + torch.xlogy(1 - test, 1 - often)
    bound = mean_elbo(MODEL, decoder(), torch.from_numpy(digits().test), digits().scale, [generator(5)])
    assert bound > by_frequency.sum(-1).mean() + 1


@cache
def points():
    """The first test points whose posterior has one mode on a grid: (1, B, D)."""
    x = to_unit(torch.from_numpy(digits().test[: 2 * POINTS]), digits().scale)
    grid = torch.cartesian_prod(torch.linspace(-4, 4, 81), torch.linspace(-4, 4, 81))
    density = MODEL.log_joint(decoder().theta, x[None], grid.reshape(1, -1, 1, 2).expand(-1, -1, len(x), -1))
    density = density[0].T.reshape(-1, 81, 81)
    modes = (density == max_pool2d(density, 3, stride=1, padding=1)).sum((1, 2))
    return x[modes == 1][None, :POINTS]


def log_joint(z):
    """The posterior's density up to a constant: z (1, C, B, N_z) -> (1, C, B)."""
    return MODEL.log_joint(decoder().theta, points(), z)


def starts():
    return torch.randn(1, CHAINS, POINTS, 2, generator=generator(2))


def in_jax():
    """log p(x, z) of one x (D,) and one z (N_z,), written down again; to be called in double precision."""
    theta = {name: jax.numpy.asarray(w[0].numpy()) for name, w in decoder().theta.items()}

    def log_joint(x, z):
        h = jax.numpy.tanh(z @ theta["w_h"] + theta["b_h"][0])
        a = h @ theta["w_out"] + theta["b_out"][0]
        return (x * a - jax.nn.softplus(a)).sum() + jax.scipy.stats.norm.logpdf(z).sum()

    return log_joint


def on_every_chain(f):
    """f of one point and one chain, for x (B, D), z (C, B, N_z) and what else there is of every chain (C, B, ...)."""
    return jax.jit(lambda x, *chains: jax.vmap(jax.vmap(f), (None, *(0 for _ in chains)))(x, *chains))


def test_the_density_and_its_gradient_are_those_written_in_jax():
    with jax.enable_x64(True):
        with_gradient = on_every_chain(jax.value_and_grad(in_jax(), argnums=1))
        value, grad = map(np.asarray, with_gradient(points()[0].numpy(), starts()[0].numpy()))

    def check(log_prob):
        point = hmc.at(log_prob, starts())
        np.testing.assert_allclose(point.log_prob[0].numpy(), value, rtol=1e-12, atol=0)
        np.testing.assert_allclose(point.grad[0].numpy(), grad, rtol=1e-9, atol=1e-9)

    check(log_joint)
    rejects(check, too_narrow, without_prior)


# --------------------------------------------------------------------------------------------------- samplers


def draws_of_the_suite(log_prob):
    """HMC to 90 % acceptance: (C, draws, B, N_z) after a warm-up of 100, in which the step sizes are adapted."""
    source, point = generator(3), hmc.at(log_prob, starts())
    adaptation = hmc.dual_averaging(torch.full_like(point.log_prob, 0.1))
    step_size, draws = adaptation.log_step.exp(), []
    for n in range(100 + DRAWS):
        noise = hmc.draw_noise(source, tuple(point.z.shape))
        jitter = 0.8 + 0.4 * torch.rand(point.log_prob.shape, generator=source)
        point, acceptance = hmc.transition(log_prob, point, noise, step_size * jitter, n_steps=4)
        if n < 80:
            adaptation = hmc.adapt(adaptation, acceptance)
            step_size = adaptation.log_step.exp()
        else:
            step_size = adaptation.log_step_averaged.exp()
        draws.append(point.z[0])
    return torch.stack(draws[100:], 1)


@cache
def draws_of_blackjax():
    """NUTS with steps of 0.3, about the narrowest posterior's width: (C, draws, B, N_z) after a warm-up of 20."""
    log_joint = in_jax()

    def chain(x, z, key):
        nuts = blackjax.nuts(lambda z: log_joint(x, z), step_size=0.3, inverse_mass_matrix=np.ones(2))

        def step(state, key):
            state, _ = nuts.step(key, state)
            return state, state.position

        return jax.lax.scan(step, nuts.init(z), jax.random.split(key, 20 + DRAWS))[1][20:]

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(4), (CHAINS, POINTS))
        draws = on_every_chain(chain)(points()[0].numpy(), starts()[0].numpy(), keys)
        return torch.from_numpy(np.array(draws)).transpose(1, 2)


# ----------------------------------------------------------------------------------------------------- moments


def estimates(draws):
    """Means of z, of its squares and product and of log p(x, z), and the squares of their standard errors: (6, B)."""
    z1, z2 = draws.unbind(-1)
    energy = log_joint(draws.flatten(0, 1)[None]).reshape(z1.shape)
    values = torch.stack([z1, z2, z1 * z1, z2 * z2, z1 * z2, energy]).numpy()
    ess = array_stats.ess(values, chain_axis=1, draw_axis=2, method="mean")
    return values.mean((1, 2)), values.var((1, 2)) / ess


def check_moments(draws):
    """Each moment at each point, and the sum over points."""
    (ours, our_square), (theirs, their_square) = estimates(draws), estimates(draws_of_blackjax())
    difference, square = ours - theirs, our_square + their_square
    assert np.abs(difference / np.sqrt(square)).max() < LIMIT
    assert np.abs(difference.sum(-1) / np.sqrt(square.sum(-1))).max() < LIMIT


def too_narrow(z):
    return 1.1 * log_joint(z)


def without_prior(z):
    return log_joint(z) - standard_normal_log_prob(z)


def test_posterior_moments_are_those_of_blackjax():
    check_moments(draws_of_the_suite(log_joint))
    rejects(lambda wrong: check_moments(draws_of_the_suite(wrong)), too_narrow, without_prior)
