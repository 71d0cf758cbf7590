"""Appendix F against the closed form of probabilistic PCA: a linear decoder's mean over its weights is known."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from aevb import trees
from aevb.distributions import Gaussian
from aevb.estimators import full_vb, gradient
from aevb.estimators.full_vb import Noise, bound, kl
from aevb.models import Params
from exact_elbo import LINEAR, assert_means, near_the_posterior, problem
from helpers import assert_mean, equal, generator, rejects, revealing

pytestmark = pytest.mark.usefixtures("double")

N_TRAIN = 4
COPIES = 5000


def posterior_problem():
    """Weights with different means and variances, and four points."""
    params, x = near_the_posterior()
    source = generator(5)
    log_var = {
        f"log_var_{name}": -4 + 0.5 * torch.randn(w.shape, generator=source)
        for name, w in params.theta.items()
    }
    return Params(params.theta | log_var, params.phi), x


def exact(params, x):
    """Eq. 24 without sampling, (M,): the expected square of the residual grows by the variance of W z + b."""
    theta, q = params.theta, LINEAR.encode(params.phi, x)
    square = q.mu.square() + q.log_var.exp()  # E z^2
    spread = torch.einsum("mbk,mkd->mb", square, theta["log_var_w_h"].exp())
    spread = spread + theta["log_var_b_h"].exp().sum((1, 2)).unsqueeze(-1)
    elbo = LINEAR.exact_elbo(params, x) - 0.5 * spread / math.exp(LINEAR.noise_log_var)
    distance = sum(
        kl_divergence(Normal(theta[name], (0.5 * theta[f"log_var_{name}"]).exp()), Normal(0.0, 1.0)).sum(
            (1, 2)
        )
        for name in ("w_h", "b_h")
    )
    return elbo.mean(-1) - distance / N_TRAIN


def noise(copies, seed=3):
    shapes = {"w_h": (2, 6), "b_h": (1, 6)}
    source = generator(seed)
    zeta = {name: torch.randn(copies, *shape, generator=source) for name, shape in shapes.items()}
    return Noise(torch.randn(copies, 1, 4, 2, generator=source), zeta)


def check_expectation(estimate):
    params, x = posterior_problem()
    many, xs = trees.concatenate([params] * COPIES), x.expand(COPIES, -1, -1)
    assert_mean(estimate(LINEAR, many, xs, noise(COPIES), N_TRAIN), exact(params, x)[0])


def check_gradient(estimate):
    params, x = posterior_problem()
    many, xs = trees.concatenate([params] * COPIES), x.expand(COPIES, -1, -1)
    draws = gradient(lambda p: estimate(LINEAR, p, xs, noise(COPIES), N_TRAIN), many)[1]
    expected = gradient(lambda p: exact(p, x), params)[1]
    assert_means(trees.leaves(draws), trees.leaves(expected))


def another_prior(factor):
    """KL(q(theta) || prior) counted `factor` times."""
    return lambda model, params, x, noise, n: (
        bound(model, params, x, noise, n) + (1 - factor) * kl(params.theta) / n
    )


def at_the_mean(model, params, x, noise, n):
    return bound(model, params, x, Noise(noise.eps, trees.rebuild(noise.zeta, zeros(noise.zeta))), n)


def zeros(zeta):
    return {name: 0 * draw for name, draw in zeta.items()}


def weights_only(model, params, x, noise, n):
    """No prior on the biases."""
    q = Gaussian(params.theta["b_h"], params.theta["log_var_b_h"])
    return bound(model, params, x, noise, n) + q.kl().sum(-1) / n


def test_the_bound_of_appendix_f_is_unbiased_and_so_is_its_gradient():
    check_expectation(bound)
    check_gradient(bound)
    wrong = [another_prior(0), another_prior(-1), another_prior(N_TRAIN), at_the_mean, weights_only]
    rejects(check_expectation, *wrong)
    rejects(check_gradient, *wrong)


def test_a_step_ascends_the_bound_of_a_minibatch_without_another_prior():
    params, x = posterior_problem()
    estimator = full_vb.build(LINEAR, revealing(), N_TRAIN)
    state, info = estimator.step(estimator.init(problem()[0])._replace(params=params), x, noise(1))
    value, grads = gradient(lambda p: 4 * bound(LINEAR, p, x, noise(1), N_TRAIN), params)
    assert equal(state.params, grads)
    torch.testing.assert_close(info.bound, value / 4)


def test_the_means_keep_the_decoders_names_and_the_prior_covers_no_variance():
    state = full_vb.build(LINEAR, revealing(), N_TRAIN).init(problem()[0])
    assert equal({name: state.params.theta[name] for name in ("w_h", "b_h")}, problem()[0].theta)
    assert set(state.params.theta) == {"w_h", "b_h", "log_var_w_h", "log_var_b_h"}
