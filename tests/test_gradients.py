"""gradients.py: the noise of an estimator's gradient, on models and draws where it is known."""

from functools import partial

import pytest
import torch

from aevb import UserError, estimators, gradients, trees
from aevb.estimators import aevb, ascend_bound, sgvb_a
from aevb.gradients import Moments, covariance, draw, jackknife, moments, signal_to_noise
from aevb.models import BernoulliModel, Params
from aevb.streams import stream
from exact_ppca import PPCA
from helpers import (
    CPU,
    SDS,
    assert_close,
    assert_mean,
    equal,
    generator,
    randn,
    rejects,
    revealing,
    scramble,
)

pytestmark = pytest.mark.usefixtures("double")

SMALL = BernoulliModel(5, 4, 2)
# orthogonal columns: the posterior's covariance is diagonal, and q(z | x) contains the posterior
EXACT = PPCA(n_features=4, n_hidden=1, n_latent=2, noise_log_var=0.0)
THETA = {
    "w_h": torch.tensor([[[1.0, 1, 1, 1], [1, 1, -1, -1]]], dtype=torch.float64) / 2**0.5,
    "b_h": torch.tensor([[[1.0, 2, -1, 0]]], dtype=torch.float64),
}


def small():
    params = scramble(trees.stack([SMALL.init(generator())]))
    return SMALL, params, torch.rand(1, 6, 5, generator=generator(1))


def at_the_posterior():
    params = Params(THETA, EXACT.best_encoder(THETA))
    return EXACT, params, EXACT.sample(THETA, generator(1), 6)[1]


def generators(n, purpose="gradient"):
    return [stream(CPU, 0, purpose, r) for r in range(n)]


def drawn(build, problem, n=200, chunk=64, purpose="gradient", **settings):
    return draw(partial(build, **settings), *problem, generators(n, purpose), chunk)


def named(name):
    return estimators.load(name)


# ------------------------------------------------------------------------------------------------ the draws


def check_gradient(draw):
    """Of a draw: the gradient of the minibatch's mean ELBO at that draw's noise, and of no prior."""
    model, params, x = small()
    found = draw(partial(aevb.build, n_samples=3), model, params, x, generators(4), 3)
    for r, source in enumerate(generators(4)):
        eps = torch.randn(1, 3, 6, 2, generator=source)
        expected = estimators.gradient(lambda p, eps=eps: aevb.elbo(model, p, x, eps).mean(-1), params)[1]
        for part, weights in (("encoder", expected.phi), ("decoder", expected.theta)):
            flat = torch.cat([w.flatten() for w in weights.values()])
            torch.testing.assert_close(found[part][r], flat, rtol=1e-11, atol=1e-13)


def test_a_draw_is_the_gradient_of_the_minibatchs_mean_without_the_prior(monkeypatch):
    check_gradient(draw)
    rejects(
        check_gradient,
        lambda *given: {part: 6 * g for part, g in draw(*given).items()},  # of the sum
        lambda *given: {"encoder": draw(*given)["decoder"], "decoder": draw(*given)["encoder"]},
        lambda *given: {part: g.roll(1, 0) for part, g in draw(*given).items()},  # another draw's noise
    )
    shown = revealing()  # with the prior's gradient
    monkeypatch.setattr(gradients, "revealing", lambda: shown)
    rejects(check_gradient, draw)


@pytest.mark.parametrize("name", ["aevb", "score_function_loo", "dreg"])
def test_gradients_do_not_depend_on_how_many_are_computed_at_a_time(name):
    one, other = (drawn(named(name), small(), 7, chunk, n_samples=2) for chunk in (3, 7))
    assert_close(one, other, rtol=1e-11, atol=1e-13)
    # nor on how many there are
    assert_close(one["encoder"][:2], drawn(named(name), small(), 2, n_samples=2)["encoder"], 1e-11, 1e-13)


def test_each_draw_may_have_a_minibatch_of_its_own():
    model, params, x = small()
    both = torch.cat([x, 1 - x])
    found = draw(aevb.build, model, params, both, generators(2), 1)
    alone = draw(aevb.build, model, params, both[1:], generators(2), 2)
    torch.testing.assert_close(found["encoder"][1], alone["encoder"][1], rtol=1e-11, atol=1e-13)
    assert not torch.allclose(found["encoder"][0], alone["encoder"][0])


def test_the_weights_themselves_are_left_alone():
    model, params, x = small()
    before = trees.copy(params)
    draw(aevb.build, model, params, x, generators(3), 2)
    assert equal(params, before)


def test_an_estimator_that_refuses_a_single_draw_says_so():
    for name in ("score_function_loo", "reweighted_wake_sleep"):
        with pytest.raises(UserError, match="n_samples"):
            drawn(named(name), small(), n_samples=1)


@pytest.mark.parametrize("n_samples", [1, 5, 50, 10**5])
def test_what_is_computed_at_a_time_is_bounded(n_samples):
    chunk = gradients.at_a_time(n_samples, 100)
    assert 1 <= chunk <= gradients.COPIES
    assert chunk == 1 or chunk * n_samples * 100 <= gradients.DECODED


# ---------------------------------------------------------------------------------------------- the moments

MEAN = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
SCALE = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
REPLICATIONS = 2000


def normal(n, seed=0):
    """Replications of n draws of a gradient with known mean and variances."""
    return MEAN + SCALE * randn(REPLICATIONS, n, 3, seed=seed)


def check_unbiased(moments):
    found = [moments(draws) for draws in normal(8)]
    for values, expected in (
        (torch.stack([one.squared_norm for one in found]), MEAN.square().sum()),
        (torch.stack([one.variance for one in found]), SCALE.square().sum()),
    ):
        assert_mean(values[:, 0], expected)
        assert_mean(values[:, 1:].mean(1), expected)  # without one draw, too


def of_the_mean(draws):
    """The squared norm of the mean as it is, without the part that is noise."""
    found = moments(draws)
    return found._replace(squared_norm=found.squared_norm + found.variance / len(draws))


def test_squared_norm_and_variance_have_the_right_expectations():
    check_unbiased(moments)
    rejects(
        check_unbiased,
        of_the_mean,
        lambda draws: moments(draws)._replace(variance=7 / 8 * moments(draws).variance),
        lambda draws: moments(draws + 0.3),
    )


def test_what_is_left_without_a_draw_is_what_the_others_give():
    draws = normal(8)[0]
    found = moments(draws)
    for r in range(8):
        others = moments(torch.cat([draws[:r], draws[r + 1 :]]))
        torch.testing.assert_close(found.squared_norm[1 + r], others.squared_norm[0])
        torch.testing.assert_close(found.variance[1 + r], others.variance[0])


def check_error(jackknife):
    """It is the standard deviation of the estimate over replications, each known within a few per cent."""
    for quantity in ("squared_norm", "variance"):
        values = [jackknife(getattr(moments(4 * MEAN + draws), quantity)) for draws in normal(40)]
        estimates, errors = torch.tensor(values).T
        assert errors.square().mean().sqrt() == pytest.approx(estimates.std().item(), rel=0.15)


def test_the_jackknifes_error_is_the_spread_of_the_estimates():
    check_error(jackknife)
    rejects(
        check_error,
        lambda values: (jackknife(values)[0], jackknife(values)[1] / 40**0.5),
        lambda values: (jackknife(values)[0], values[1:].std().item()),
    )


def test_where_there_is_no_signal_the_jackknifes_error_is_too_large_rather_than_too_small():
    values = [jackknife(moments(draws - MEAN).squared_norm) for draws in normal(40)]
    estimates, errors = torch.tensor(values).T
    assert estimates.std() < errors.square().mean().sqrt() < 2 * estimates.std()


def check_noise_of_data(covariance):
    """Draws in pairs that share a minibatch, whose own variance is 4 per weight and the noise's 9."""
    shared, one, other = (randn(REPLICATIONS, 8, 3, seed=seed) for seed in range(3))
    found = torch.stack(
        [covariance(2 * x + 3 * a, 2 * x + 3 * b)[0] for x, a, b in zip(shared, one, other, strict=True)]
    )
    assert_mean(found, 3 * 4.0)


def test_the_covariance_of_pairs_is_the_noise_of_the_data():
    check_noise_of_data(covariance)
    rejects(
        check_noise_of_data,
        lambda one, other: covariance(one, one),  # the noise of z too
        lambda one, other: 7 / 8 * covariance(one, other),
        lambda one, other: covariance(one, other.flip(0)),
    )


def test_of_a_gradient_with_itself_it_is_the_variance():
    draws = normal(8)[0]
    torch.testing.assert_close(covariance(draws, draws), moments(draws).variance)


def test_a_signal_is_told_from_none():
    for scale, seen in ((0.0, False), (1.0, True)):
        ratio, low, high = signal_to_noise(moments(scale + randn(100, 50)))
        assert low <= ratio <= high
        assert (low > 0) == seen
    assert ratio == pytest.approx(1.0, abs=0.1)  # |E g|^2 = tr Cov g = 50


def test_the_ratio_is_of_norm_and_deviation_and_never_below_zero():
    steady = Moments(torch.full((5,), 9.0), torch.full((5,), 4.0))
    assert signal_to_noise(steady) == pytest.approx((1.5, 1.5, 1.5))
    assert signal_to_noise(steady._replace(squared_norm=-steady.squared_norm)) == (0.0, 0.0, 0.0)


# -------------------------------------------------------------------------------------- known estimators


def variance(name, problem, part, **settings):
    """Estimate and standard error."""
    return jackknife(moments(drawn(named(name), problem, **settings)[part]).variance)


def test_at_the_exact_posterior_sticking_the_landing_has_no_noise_left_in_the_encoder():
    problem = at_the_posterior()
    model, params, x = problem
    assert model.exact_elbo(params, x)[0] == pytest.approx(model.log_evidence(params.theta, x).numpy())
    assert variance("sticking_the_landing", problem, "encoder")[0] < 1e-25
    for name in ("aevb", "sgvb_a", "score_function"):
        assert variance(name, problem, "encoder")[0] > 0.1
    # of the decoder the two have one gradient, and so one noise
    assert variance("sticking_the_landing", problem, "decoder")[0] > 0.1


def check_variance_falls(build):
    """As 1/L, within the errors of both."""
    of = {
        n_samples: moments(
            drawn(build, small(), 400, purpose=f"L{n_samples}", n_samples=n_samples)["encoder"]
        )
        for n_samples in (1, 4)
    }
    (one, one_error), (four, four_error) = (jackknife(found.variance) for found in of.values())
    assert abs(one - 4 * four) < SDS * (one_error**2 + 16 * four_error**2) ** 0.5


def summed(model, optimiser, n_train, n_samples):
    """AEVB with the draws' sum for their mean."""

    def elbo(model, params, x, eps):
        return n_samples * aevb.elbo(model, params, x, eps)

    return ascend_bound(elbo, model, optimiser, n_train, n_samples)


def only_the_first(model, optimiser, n_train, n_samples):
    """AEVB that draws L and uses one."""

    def elbo(model, params, x, eps):
        return aevb.elbo(model, params, x, eps[:, :1])

    return ascend_bound(elbo, model, optimiser, n_train, n_samples)


def test_the_variance_of_sgvb_falls_as_one_over_the_number_of_draws():
    check_variance_falls(aevb.build)
    check_variance_falls(sgvb_a.build)
    rejects(check_variance_falls, summed, only_the_first)


def test_the_naive_estimator_is_far_noisier_than_sgvb_in_the_encoder_and_alike_in_the_decoder():
    naive, error = variance("score_function", small(), "encoder")
    ours, _ = variance("aevb", small(), "encoder")
    assert naive - SDS * error > 10 * ours
    assert variance("score_function", small(), "decoder") == pytest.approx(
        variance("aevb", small(), "decoder")
    )


def check_better(name):
    """Latents that the decoder ignores, and q = p(z): SGVB-B draws nothing of the KL divergence."""
    model, params, x = at_the_posterior()
    theta = {**params.theta, "w_h": torch.zeros_like(params.theta["w_h"])}
    problem = model, Params(theta, model.best_encoder(theta)), x
    assert variance(name, problem, "encoder")[0] < 1e-25


def test_sgvb_b_has_no_noise_where_the_decoder_ignores_z_and_sgvb_a_has():
    check_better("aevb")
    rejects(check_better, "sgvb_a", "score_function")
