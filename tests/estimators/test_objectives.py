"""Rows 2 and 3 of VERIFICATION.md for the estimators of the field: identities that tie each to another one or to the
exact ELBO of probabilistic PCA."""

import math
from itertools import pairwise

import pytest
import torch

from aevb import UserError, trees
from aevb.distributions import Gaussian
from aevb.estimators import (
    aevb,
    dreg,
    gradient,
    iwae,
    propose,
    renyi,
    reweighted_wake_sleep,
    score_function,
    score_function_loo,
    sgvb_a,
    sticking_the_landing,
)
from aevb.models import Params
from exact_elbo import (
    LINEAR,
    assert_means,
    at_the_posterior,
    check_expectation,
    check_gradient,
    gradients,
    near_the_posterior,
    problem,
)
from helpers import assert_close, assert_mean, generator, rejects, revealing

pytestmark = pytest.mark.usefixtures("double")


def surrogate_of(module):
    return lambda *arguments: module.objective(*arguments).surrogate


def bound_of(module):
    return lambda *arguments: module.objective(*arguments).bound


def log_weights(model, params, x, eps):
    q, z = propose(model, params.phi, x, eps)
    return model.log_joint(params.theta, x, z) - q.log_prob(z)


# --------------------------------------------------------------------------------- the same bound, other estimates


def with_a_score(model, params, x, eps):
    """A term without expectation, as sticking the landing leaves one out: no test of a mean can see it."""
    q, z = propose(model, params.phi, x, eps)
    score = q.log_prob(z.detach())
    return (log_weights(model, params, x, eps) + score - score.detach()).mean(1)


def test_sgvb_a_is_unbiased_and_so_is_its_gradient():
    check_expectation(sgvb_a.elbo)
    check_gradient(sgvb_a.elbo)
    check_gradient(with_a_score)

    def without_q(model, params, x, eps):
        return model.log_joint(params.theta, x, propose(model, params.phi, x, eps)[1]).mean(1)

    def without_prior(model, params, x, eps):
        q, z = propose(model, params.phi, x, eps)
        return (model.log_likelihood(params.theta, x, z) - q.log_prob(z)).mean(1)

    rejects(check_expectation, without_q, without_prior)
    rejects(check_gradient, without_q, without_prior)


def naive_with_path(model, params, x, eps):
    """z left a function of phi: both gradients at once."""
    q, z = propose(model, params.phi, x, eps)
    log_joint, log_q = model.log_joint(params.theta, x, z), q.log_prob(z)
    return (log_joint + (log_joint - log_q).detach() * log_q).mean(1)


def naive_of_the_joint(model, params, x, eps):
    """f without -log q: the gradient of E_q log p(x, z)."""
    q, z = propose(model, params.phi, x, eps)
    log_joint, log_q = model.log_joint(params.theta, x, z.detach()), q.log_prob(z.detach())
    return (log_joint + log_joint.detach() * log_q).mean(1)


def with_its_own_draw(model, params, x, eps):
    """A baseline that holds f(z_l) itself: (L - 1)/L of the gradient."""
    q, z = propose(model, params.phi, x, eps)
    log_joint, log_q = model.log_joint(params.theta, x, z.detach()), q.log_prob(z.detach())
    f = (log_joint - log_q).detach()
    return (log_joint + (f - f.mean(1, keepdim=True)) * log_q).mean(1)


def test_the_score_function_has_the_gradient_of_the_elbo():
    check_expectation(bound_of(score_function))
    check_gradient(surrogate_of(score_function))
    check_gradient(surrogate_of(score_function), 1, near_the_posterior)
    rejects(lambda wrong: check_gradient(wrong, 1, near_the_posterior), naive_with_path, naive_of_the_joint)


def test_a_baseline_of_the_other_draws_leaves_the_gradient_as_it_is():
    check_expectation(bound_of(score_function_loo), 3)
    check_gradient(surrogate_of(score_function_loo), 3)
    rejects(lambda wrong: check_gradient(wrong, 3), with_its_own_draw)


def test_a_baseline_takes_most_of_the_variance_away():
    params, x = problem()
    naive, loo = (gradients(surrogate_of(m), params, x, 5) for m in (score_function, score_function_loo))
    for name in ("phi.w_mu", "phi.b_mu", "phi.b_log_var"):
        assert loo[name].var(0).sum() < 0.5 * naive[name].var(0).sum()


def straight_through(model, params, x, eps):
    """q fixed in the joint's place: the path through z is cut."""
    q, z = propose(model, params.phi, x, eps)
    return (model.log_joint(params.theta, x, z.detach()) - q.log_prob(z)).mean(1)


def test_sticking_the_landing_has_the_value_and_the_gradient_of_the_elbo():
    check_expectation(sticking_the_landing.elbo)
    check_gradient(sticking_the_landing.elbo)
    rejects(check_gradient, straight_through)


def check_landing(estimate):
    """At q = p(z | x) the encoder's gradient is zero for every draw."""
    params, x = at_the_posterior()
    draws = gradients(estimate, params, x, copies=20)
    assert all(leaf.abs().max() < 1e-10 for name, leaf in draws.items() if name.startswith("phi"))


def test_at_the_posterior_sticking_the_landing_has_no_variance():
    check_landing(sticking_the_landing.elbo)
    check_landing(surrogate_of(dreg))
    rejects(check_landing, sgvb_a.elbo, aevb.elbo, surrogate_of(score_function))
    # and there SGVB's mean gradient is zero too
    params, x = at_the_posterior()
    draws = gradients(sgvb_a.elbo, params, x)
    for name in ("phi.w_mu", "phi.b_mu", "phi.b_log_var"):
        assert_mean(draws[name].flatten(1), torch.zeros(()))


# ----------------------------------------------------------------------------------------------- several draws


def check_one_draw(bound):
    """With one draw the value and the gradient are SGVB-A's."""
    params, x = problem()
    eps = torch.randn(1, 1, 4, 2, generator=generator(4))
    for mine, expected in zip(
        gradient(lambda p: bound(LINEAR, p, x, eps).sum(-1), params),
        gradient(lambda p: sgvb_a.elbo(LINEAR, p, x, eps).sum(-1), params),
        strict=True,
    ):
        assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def test_with_one_draw_iwae_is_sgvb_a():
    check_one_draw(iwae.bound)
    rejects(check_one_draw, aevb.elbo, sticking_the_landing.elbo, surrogate_of(score_function))


def mean_of_logs(model, params, x, eps):
    return log_weights(model, params, x, eps).mean(1)


def log_of_sum(model, params, x, eps):
    return torch.logsumexp(log_weights(model, params, x, eps), 1)


def check_rises(bound):
    """Of any draws, the bound of K is above the mean bound of K - 1 of them (Burda et al., Theorem 1)."""
    params, x = problem()
    eps = torch.randn(1, 5, 4, 2, generator=generator(5))
    fewer = [bound(LINEAR, params, x, torch.cat([eps[:, :k], eps[:, k + 1 :]], 1)) for k in range(5)]
    assert (bound(LINEAR, params, x, eps) > torch.stack(fewer).mean(0) + 1e-9).all()


def check_exact_weights(bound):
    """At q = p(z | x) it is log p(x), whatever the draws."""
    params, x = at_the_posterior()
    value = bound(LINEAR, params, x, torch.randn(1, 5, 4, 2, generator=generator(6)))
    torch.testing.assert_close(value[0], LINEAR.log_evidence(params.theta, x), rtol=1e-10, atol=1e-10)


def test_the_bound_of_iwae_rises_with_its_draws_to_log_p():
    check_rises(iwae.bound)
    check_exact_weights(iwae.bound)
    rejects(check_rises, mean_of_logs)
    rejects(check_exact_weights, log_of_sum)


@pytest.mark.parametrize("module", [dreg, reweighted_wake_sleep], ids=lambda module: module.__name__)
def test_the_bound_that_is_reported_beside_another_objective_is_iwaes(module):
    params, x = problem()
    eps = torch.randn(1, 5, 4, 2, generator=generator(5))
    torch.testing.assert_close(
        module.objective(LINEAR, params, x, eps).bound, iwae.bound(LINEAR, params, x, eps)
    )


def stuck_once(model, params, x, eps):
    """W_k and not its square: IWAE with the score left out, which is biased."""
    q, z = propose(model, params.phi, x, eps)
    fixed = Gaussian(q.mu.detach(), q.log_var.detach())
    return torch.logsumexp(model.log_joint(params.theta, x, z) - fixed.log_prob(z), 1) - math.log(z.shape[1])


def check_iwaes_gradient(estimate):
    """By the same 5000 draws of noise: the difference has the mean zero, the decoder's is zero."""
    params, x = problem()
    mine, iwaes = gradients(estimate, params, x, 3), gradients(iwae.bound, params, x, 3)
    for name, leaf in mine.items():
        difference = (leaf - iwaes[name]).flatten(1)
        if name.startswith("theta"):
            assert difference.abs().max() < 1e-9
        else:
            assert_mean(difference, torch.zeros(()))


def test_dreg_has_the_gradient_of_iwae():
    check_iwaes_gradient(surrogate_of(dreg))
    rejects(check_iwaes_gradient, stuck_once, sticking_the_landing.elbo, surrogate_of(reweighted_wake_sleep))


def test_the_encoders_signal_of_dreg_does_not_fade_with_its_draws():
    """That of IWAE does (Rainforth et al. 2018): its signal to noise falls as 1/sqrt(K)."""
    params, x = near_the_posterior()

    def signal(estimate, k):
        leaf = gradients(estimate, params, x, k, copies=2000)["phi.b_mu"].flatten(1)
        return (leaf.mean(0).norm() / leaf.var(0).sum().sqrt()).item()

    assert signal(surrogate_of(dreg), 64) > 2 * signal(surrogate_of(dreg), 4)
    assert signal(iwae.bound, 64) < 1.2 * signal(iwae.bound, 4)


def log_q_of_the_posterior(theta, phi, x):
    """E log q(z | x) over the exact posterior N(m, S) in closed form, (1,): reweighted wake-sleep's aim for phi."""
    q, posterior = LINEAR.encode(phi, x), LINEAR.posterior(theta, x)
    spread = (posterior.mean - q.mu[0]).square() + posterior.covariance_matrix.diagonal(dim1=-2, dim2=-1)
    return -0.5 * (q.log_var[0] + spread / q.log_var[0].exp()).sum().unsqueeze(0)


def check_reweighted(estimate):
    """The decoder's gradient is IWAE's; the encoder's that of KL(p(z | x) || q). The weights' bias is of order 1/K,
    a tenth of the standard errors here."""
    params, x = problem()
    phi = params.phi | {
        "b_log_var": params.phi["b_log_var"] + 2
    }  # wide, so that the weights have light tails
    params = params._replace(phi=phi)
    mine = gradients(estimate, params, x, 2000, copies=100)
    iwaes = gradients(iwae.bound, params, x, 2000, copies=100)
    exact = trees.leaves(
        gradient(lambda p: log_q_of_the_posterior(params.theta, p.phi, x), Params({}, params.phi))[1]
    )
    for name, leaf in mine.items():
        if name.startswith("theta"):
            torch.testing.assert_close(leaf, iwaes[name], rtol=1e-9, atol=1e-9)
    assert_means({name: leaf for name, leaf in mine.items() if name.startswith("phi")}, exact)


def unweighted(model, params, x, eps):
    q, z = propose(model, params.phi, x, eps)
    log_joint, log_q = model.log_joint(params.theta, x, z.detach()), q.log_prob(z.detach())
    return (log_joint + log_q).mean(1)


def test_reweighted_wake_sleep_follows_the_posterior():
    check_reweighted(surrogate_of(reweighted_wake_sleep))
    rejects(check_reweighted, unweighted, iwae.bound, surrogate_of(dreg))


def renyi_bound(alpha):
    return lambda *arguments: renyi.bound(*arguments, alpha)


def check_limits(family):
    """family: alpha -> estimate. IWAE at 0, SGVB-A towards 1, falling in between, exact where q is the posterior."""
    params, x = problem()
    eps = torch.randn(1, 5, 4, 2, generator=generator(5))
    values = [family(alpha)(LINEAR, params, x, eps) for alpha in (0.0, 0.3, 0.7, 1 - 1e-7)]
    torch.testing.assert_close(values[0], iwae.bound(LINEAR, params, x, eps))
    torch.testing.assert_close(values[-1], sgvb_a.elbo(LINEAR, params, x, eps), rtol=1e-5, atol=1e-5)
    assert all((high > low).all() for high, low in pairwise(values))
    check_exact_weights(family(0.5))


def test_the_renyi_bound_lies_between_iwae_and_the_elbo():
    check_limits(renyi_bound)
    rejects(
        check_limits,
        lambda alpha: lambda *args: (1 - alpha) * renyi.bound(*args, alpha),
        lambda alpha: renyi_bound(1 - alpha or 1e-7),
        lambda alpha: lambda *args: renyi.bound(*args, alpha) + math.log(5) * alpha,
    )


# ----------------------------------------------------------------------------------------------- the noise drawn


@pytest.mark.parametrize(
    "module",
    [
        sgvb_a,
        score_function,
        score_function_loo,
        iwae,
        sticking_the_landing,
        dreg,
        reweighted_wake_sleep,
        renyi,
    ],
    ids=lambda module: module.__name__.rsplit(".", 1)[-1],
)
def test_a_method_draws_as_often_as_it_is_told(module):
    estimator = module.build(LINEAR, revealing(), n_train=8, n_samples=3)
    assert estimator.draw(generator(9), 4).eps.shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (score_function_loo, {"n_samples": 1}),
        (reweighted_wake_sleep, {"n_samples": 1}),
        (renyi, {"alpha": 1.0}),
        (renyi, {"alpha": -0.5}),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(module, settings):
    name = module.__name__.rsplit(".", 1)[-1]
    with pytest.raises(UserError, match=f"{name}: {next(iter(settings))}"):
        module.build(LINEAR, revealing(), 8, **settings)
