"""Row 2 of VERIFICATION.md: SGVB-B and its gradient against the exact ELBO of probabilistic PCA."""

import pytest
import torch
from torch.autograd import gradcheck

from aevb import trees
from aevb.distributions import Gaussian
from aevb.estimators import aevb, gradient
from aevb.estimators.aevb import elbo
from aevb.models import BernoulliModel, GaussianModel, Params
from exact_elbo import LINEAR, check_expectation, check_gradient, problem
from helpers import (
    assert_close,
    generator,
    log_prior,
    rejects,
    revealing,
    scramble,
    with_prior,
)

pytestmark = pytest.mark.usefixtures("double")


def q_and_z(model, params, x, eps):
    q = model.encode(params.phi, x)
    return q, Gaussian(q.mu.unsqueeze(1), q.log_var.unsqueeze(1)).sample(eps)


def wrong_kl_sign(model, params, x, eps):
    q, z = q_and_z(model, params, x, eps)
    return model.log_likelihood(params.theta, x, z).mean(1) + q.kl()


def at_the_mean(model, params, x, eps):
    return elbo(model, params, x, 0 * eps)


def detached(model, params, x, eps):
    q, z = q_and_z(model, params, x, eps)
    return model.log_likelihood(params.theta, x, z.detach()).mean(1) - q.kl()


def sigma_squared(model, params, x, eps):
    q, _ = q_and_z(model, params, x, eps)
    z = q.mu.unsqueeze(1) + q.log_var.exp().unsqueeze(1) * eps
    return model.log_likelihood(params.theta, x, z).mean(1) - q.kl()


def summed_samples(model, params, x, eps):
    q, z = q_and_z(model, params, x, eps)
    return model.log_likelihood(params.theta, x, z).sum(1) - q.kl()


def test_the_closed_form_elbo_is_evidence_minus_the_distance_to_the_posterior():
    """Guards the reference itself: ELBO = log p(x) - KL(q || p(z | x)), each term from torch.distributions."""
    params, x = problem()
    q, posterior = LINEAR.encode(params.phi, x), LINEAR.posterior(params.theta, x)
    own = torch.distributions.MultivariateNormal(q.mu[0], torch.diag_embed(q.log_var.exp()[0]))
    gap = torch.distributions.kl_divergence(own, posterior)
    expected = LINEAR.log_evidence(params.theta, x) - gap
    torch.testing.assert_close(LINEAR.exact_elbo(params, x)[0], expected, rtol=1e-9, atol=1e-9)


def test_sgvb_b_is_unbiased_for_the_elbo():
    check_expectation(elbo)
    rejects(check_expectation, wrong_kl_sign, at_the_mean, sigma_squared)


def test_the_gradient_of_sgvb_b_is_unbiased():
    check_gradient(elbo)
    rejects(check_gradient, detached, wrong_kl_sign, at_the_mean)


def check_gradcheck(estimate, model):
    params = scramble(trees.stack([model.init(generator(4)), model.init(generator(5))]), scale=0.7)
    x = torch.rand(2, 3, model.n_features, generator=generator(6))
    eps = torch.randn(2, 2, 3, model.n_latent, generator=generator(7))
    named = trees.leaves(params)

    def objective(*weights):
        tree = trees.rebuild(params, dict(zip(named, weights, strict=True)))
        return estimate(model, tree, x, eps).sum(-1)

    weights = [w.clone().requires_grad_() for w in named.values()]
    assert gradcheck(objective, weights, raise_exception=False)


MODELS = pytest.mark.parametrize(
    "model", [BernoulliModel(4, 3, 2), GaussianModel(4, 3, 2, -8.0)], ids=["bernoulli", "gaussian"]
)


@MODELS
def test_sgvb_b_is_differentiated_through_its_samples(model):
    check_gradcheck(lambda *args: elbo(*args), model)
    rejects(lambda wrong: check_gradcheck(wrong, model), detached)


def check_samples(estimate):
    """L = 3 draws are averaged, point by point."""
    params, x = problem()
    eps = torch.randn(1, 3, 4, 2, generator=generator(8))
    singly = torch.stack([estimate(LINEAR, params, x, eps[:, i : i + 1]) for i in range(3)])
    torch.testing.assert_close(estimate(LINEAR, params, x, eps), singly.mean(0))


def test_several_samples_are_averaged():
    check_samples(elbo)
    rejects(check_samples, summed_samples)
    noise = aevb.build(LINEAR, revealing(), n_train=8, n_samples=3).draw(generator(9), 4)
    assert noise.eps.shape == (3, 4, 2)


def check_ascent(optimiser):
    """5 points of 50: a tenth of the prior."""
    model = BernoulliModel(4, 3, 2)
    params = scramble(trees.stack([model.init(generator(4))]))
    x = torch.rand(1, 5, 4, generator=generator(10))
    estimator = aevb.build(model, optimiser, n_train=50)
    noise = trees.stack([estimator.draw(generator(11), 5)])
    state, info = estimator.step(estimator.init(params), x, noise)
    assert isinstance(state.params, Params)
    expected = gradient(lambda p: elbo(model, p, x, noise.eps).sum(-1) + 0.1 * log_prior(p), params)[1]
    assert_close(state.params, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(info.bound, elbo(model, params, x, noise.eps).mean(-1))


def test_a_step_ascends_the_minibatch_sum_with_the_map_prior_and_reports_its_mean():
    check_ascent(revealing())
    rejects(
        check_ascent,
        with_prior(revealing(), lambda prior: 0.0),
        with_prior(revealing(), lambda prior: 10 * prior),  # the whole prior for a tenth of the points
        with_prior(revealing(), lambda prior: -prior),
    )
