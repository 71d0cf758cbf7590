"""Row 6 of VERIFICATION.md for Appendix D, against the exact evidence of probabilistic PCA."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from aevb import UserError, hmc, trees
from aevb.evidence import Evidence, appendix_d
from aevb.models import BernoulliModel
from helpers import SDS, assert_mean, generator, randn, rejects, scramble
from aevb.ppca import PPCA

pytestmark = pytest.mark.usefixtures("double")


def problem(n_latent: int, n_points: int):
    model = PPCA(n_features=6, n_hidden=1, n_latent=n_latent)
    params = trees.stack([model.init(generator(0))])
    return model, params, model.sample(params.theta, generator(1), n_points)[1]


def exact_draws(posterior, n: int, seed: int) -> torch.Tensor:
    """(n, 1, B, N_z), independent draws of the posterior at each point."""
    eps = torch.randn(n, *posterior.mean.shape, generator=generator(seed))
    return (posterior.mean + eps @ posterior.scale_tril[0].T).unsqueeze(1)


def from_weights(log_w: torch.Tensor) -> Evidence:
    shape = log_w.shape[1:]
    return appendix_d.from_weights(log_w, torch.ones(shape), torch.zeros(shape, dtype=torch.bool))


# -------------------------------------------------------------------------------------- the reciprocal average


def test_with_the_exact_posterior_as_q_the_estimate_has_no_variance():
    """Every weight is 1/p(x): exact to 1e-10 from any number of draws."""
    model, params, x = problem(3, 5)
    posterior = model.posterior(params.theta, x)
    expected = model.log_evidence(params.theta, x)

    def check(log_q):
        z = exact_draws(posterior, 10, seed=2)
        log_joint = model.log_joint(params.theta, x, z.transpose(0, 1)).transpose(0, 1)
        estimate = from_weights(log_q(z) - log_joint)
        torch.testing.assert_close(estimate.log_prob[0], expected, rtol=0, atol=1e-10)
        assert (estimate.std_error < 1e-10).all()
        torch.testing.assert_close(estimate.ess, torch.full((1, 5), 10.0))
        torch.testing.assert_close(estimate.largest_share, torch.full((1, 5), 0.1))

    check(posterior.log_prob)
    rejects(
        check,
        lambda z: -posterior.log_prob(z),
        lambda z: 1.01 * posterior.log_prob(z),
        lambda z: 0 * z[..., 0],
    )


def check_average(average):
    """-log of the mean weight with the delta method's error, written out in ordinary numbers."""
    log_w = randn(20, 2, 3, seed=3).double()
    w = log_w.exp()
    estimate = average(log_w)
    torch.testing.assert_close(estimate.log_prob, -w.mean(0).log(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(estimate.std_error, w.std(0) / w.mean(0) / math.sqrt(20), rtol=1e-10, atol=0)
    torch.testing.assert_close(estimate.ess, w.sum(0).square() / w.square().sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(estimate.largest_share, w.amax(0) / w.sum(0), rtol=1e-12, atol=0)


def test_the_estimate_is_minus_the_log_of_the_mean_weight():
    check_average(from_weights)
    rejects(
        check_average,
        lambda log_w: from_weights(-log_w),  # importance sampling turned over
        lambda log_w: from_weights(log_w)._replace(log_prob=-log_w.mean(0)),  # mean of logs
        lambda log_w: from_weights(log_w)._replace(log_prob=-torch.logsumexp(log_w, 0)),  # no log L
    )


def test_weights_of_any_size_do_not_overflow():
    shifted = from_weights(randn(20, 1, 1, seed=3).double() + 5000)
    plain = from_weights(randn(20, 1, 1, seed=3).double())
    torch.testing.assert_close(shifted.log_prob + 5000, plain.log_prob, rtol=0, atol=1e-9)


# ----------------------------------------------------------------------------------------- the kernel density


def check_density(density):
    """scipy's gaussian_kde with the bandwidth that scores best on the second half of the draws."""
    fit, z = randn(30, 1, 4, 2, seed=4).double(), randn(20, 1, 4, 2, seed=5).double()
    mixing = torch.tensor([[1.0, 0.8], [0.0, 0.3]], dtype=torch.float64)
    scales = torch.tensor([0.01, 1.0, 5.0, 100.0], dtype=torch.float64).reshape(4, 1)
    fit, z = fit @ mixing * scales, z @ mixing * scales
    fit[:, :, 3] = fit[:, :, 3].sign() * fit[:, :, 3].abs() ** 3  # a shape that asks for narrower kernels
    log_q, degenerate = density(fit, z)
    factors = [math.exp((i - 5) / 2) for i in range(10)]
    chosen = []
    for b in range(4):
        draws, new = fit[:, 0, b].numpy().T, z[:, 0, b].numpy().T

        def kde(points, factor):
            return gaussian_kde(points, bw_method=lambda k: k.scotts_factor() * factor)

        scores = [kde(draws[:, :15], factor).logpdf(draws[:, 15:]).sum() for factor in factors]
        chosen.append(int(np.argmax(scores)))
        expected = torch.from_numpy(kde(draws, factors[chosen[-1]]).logpdf(new))
        torch.testing.assert_close(log_q[:, 0, b], expected, rtol=1e-10, atol=1e-10)
    assert len(set(chosen)) > 1, "the choice must matter"
    assert not degenerate.any()


def test_the_density_is_scipys_kernel_density_with_the_best_bandwidth_on_held_out_draws():
    check_density(appendix_d.kernel_density)
    one = torch.ones((), dtype=torch.float64)
    rejects(
        check_density,
        lambda fit, z: appendix_d._log_density(fit, z, one),  # Scott's factor alone
        lambda fit, z: appendix_d.kernel_density(fit.flip(0), z),  # halves exchanged
        lambda fit, z: appendix_d.kernel_density(fit[:15], z),  # half of the draws thrown away
    )


def test_the_density_integrates_to_one():
    fit = randn(20, 1, 1, 2, seed=6).double()
    nodes = torch.linspace(-12, 12, 401)
    grid = torch.cartesian_prod(nodes, nodes).reshape(-1, 1, 1, 2)
    log_q, _ = appendix_d.kernel_density(fit, grid)
    assert (log_q.exp().sum() * (nodes[1] - nodes[0]) ** 2).item() == pytest.approx(1, abs=1e-6)


# ------------------------------------------------------------------------------------------ the whole estimator

# What the estimator documents: too high "by hundredths of a nat in three dimensions"
BIAS = 0.1


def check_evidence(n_latent, estimate):
    """300 points, 50 + 50 draws by HMC. The estimate is biased upwards (Jensen), by no more than it documents."""
    model, params, x = problem(n_latent, 300)
    result = estimate(model, params, x[0])
    error = result.log_prob[0] - model.log_evidence(params.theta, x)
    assert not result.refused.any()
    standard_error = error.std().item() / math.sqrt(300)
    assert -SDS * standard_error < error.mean().item() < BIAS + SDS * standard_error
    assert standard_error < 0.03, "two tenths of a nat must show"


def right(model, params, x):
    return appendix_d.evidence(model, params, x, [generator(7)])


@pytest.mark.parametrize("n_latent", [2, 3])
def test_the_evidence_of_ppca_is_exact_within_bias_and_standard_error(n_latent):
    check_evidence(n_latent, right)


def test_wrong_estimates_of_the_evidence_are_noticed(monkeypatch):
    class NoPrior(PPCA):
        def log_joint(self, theta, x, z):
            return self.log_likelihood(theta, x, z)

    def without_prior(model, params, x):
        return right(NoPrior(model.n_features, 1, model.n_latent), params, x)

    rejects(lambda wrong: check_evidence(2, wrong), without_prior)

    def with_reciprocal(wrong):
        def estimate(model, params, x):
            with monkeypatch.context() as patch:
                patch.setattr(appendix_d, "reciprocal", wrong)
                return right(model, params, x)

        return estimate

    true = appendix_d.reciprocal
    rejects(
        lambda wrong: check_evidence(2, with_reciprocal(wrong)),
        # q fitted to the very draws it is evaluated on
        lambda fit, z, log_joint, acceptance: true(z, z, log_joint, acceptance),
        # one point's q with another's draws
        lambda fit, z, log_joint, acceptance: true(fit.flip(2), z, log_joint, acceptance),
        lambda fit, z, log_joint, acceptance: true(fit, z, log_joint + math.log(50), acceptance),
    )


def check_independent_draws(estimate):
    """500 points, 50 + 50 independent exact draws at d = 3: bias and the error that the estimate itself reports.

    The delta method leaves out that q is fitted too and the tail of weights that 50 draws do not show: a quarter.
    """
    model, params, x = problem(3, 500)
    z = exact_draws(model.posterior(params.theta, x), 100, seed=10)
    log_joint = model.log_joint(params.theta, x, z.transpose(0, 1)).transpose(0, 1)
    result = estimate(z[:50], z[50:], log_joint[50:], torch.ones(1, 500))
    error = result.log_prob[0] - model.log_evidence(params.theta, x)
    standard_error = error.std().item() / math.sqrt(500)
    assert -SDS * standard_error < error.mean().item() < 0.034 + SDS * standard_error
    assert 0.8 < error.std().item() / result.std_error.square().mean().sqrt().item() < 1.6


def test_with_independent_draws_bias_and_standard_error_are_as_stated():
    check_independent_draws(appendix_d.reciprocal)
    rejects(
        check_independent_draws,
        lambda fit, z, log_joint, acceptance: appendix_d.reciprocal(z, z, log_joint, acceptance),
        lambda fit, z, *rest: (r := appendix_d.reciprocal(fit, z, *rest))._replace(
            std_error=r.std_error * 50**0.5
        ),
        lambda fit, z, *rest: (r := appendix_d.reciprocal(fit, z, *rest))._replace(
            std_error=r.std_error / 50**0.5
        ),
    )


def test_models_of_a_stack_and_chunks_of_points_have_their_own_evidence(monkeypatch):
    monkeypatch.setattr(appendix_d, "CHUNK", 7)  # 10 = 7 + 3
    model = PPCA(n_features=6, n_hidden=1, n_latent=2)
    params = trees.stack([model.init(generator(m)) for m in range(2)])
    x = model.sample(trees.take(params, 0).theta, generator(3), 10)[1][0]
    result = appendix_d.evidence(model, params, x, [generator(4), generator(5)], warm_up=100)
    exact = torch.stack([model.log_evidence(trees.take(params, m).theta, x[None]) for m in range(2)])
    assert all(field.shape == (2, 10) for field in result)
    # loose: a swap of models or points is off by tens of nats
    assert (result.log_prob - exact).abs().max() < 1.5
    assert (exact[0] - exact[1]).abs().min() > 3


# --------------------------------------------------------------------------------------------------- refusals


def test_more_than_four_latent_dimensions_are_refused():
    model = BernoulliModel(6, 3, 5)
    params = trees.stack([model.init(generator(0))])
    with pytest.raises(UserError, match="N_z = 5"):
        appendix_d.evidence(model, params, torch.zeros(2, 6), [generator(0)])


def reciprocal_with(fit, z):
    """Point 1 of three gets the given draws; the others are well."""
    good_fit, good_z = randn(20, 1, 3, 2, seed=8).double(), randn(20, 1, 3, 2, seed=9).double()
    mixed_fit, mixed_z = good_fit.clone(), good_z.clone()
    mixed_fit[:, :, 1], mixed_z[:, :, 1] = fit(good_fit[:, :, 1]), z(good_z[:, :, 1])

    def log_joint(z):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)

    well = appendix_d.reciprocal(good_fit, good_z, log_joint(good_z), torch.ones(1, 3))
    result = appendix_d.reciprocal(mixed_fit, mixed_z, log_joint(mixed_z), torch.ones(1, 3))
    return well, result


def same(draws):
    return draws


@pytest.mark.parametrize(
    ("fit", "z"),
    [
        (torch.zeros_like, torch.zeros_like),  # frozen at its start, z = 0
        (torch.ones_like, torch.ones_like),  # frozen elsewhere
        (torch.ones_like, same),  # frozen until the second half
        (same, torch.ones_like),  # frozen in the second half: one draw taken for twenty, with no variance
        (lambda z: z[..., :1].expand_as(z), same),  # draws on a line
    ],
    ids=["at zero", "elsewhere", "first half", "second half", "on a line"],
)
def test_a_chain_that_never_moved_is_refused_and_the_others_are_not(fit, z):
    well, result = reciprocal_with(fit, z)
    assert result.refused.tolist() == [[False, True, False]]
    assert torch.isnan(result.log_prob).tolist() == [[False, True, False]]
    kept = ~result.refused
    torch.testing.assert_close(result.log_prob[kept], well.log_prob[kept])


def test_a_chain_that_stood_still_while_the_bandwidth_was_chosen_stops_nobody():
    """The kernels of the first half of `fit` have no width then; those of all of it have."""

    def stands_still(z):
        return torch.where(torch.arange(20).reshape(20, 1, 1) < 10, z[:1], z)

    well, result = reciprocal_with(stands_still, same)
    assert not result.refused[0, [0, 2]].any()
    torch.testing.assert_close(result.log_prob[0, [0, 2]], well.log_prob[0, [0, 2]])


def test_a_frozen_chain_is_refused_by_the_whole_estimator():
    """Point 1 has a likelihood that is no number but at z = 0: no proposal is ever accepted."""

    class Cliff(PPCA):
        def log_likelihood(self, theta, x, z):
            value = super().log_likelihood(theta, x, z)
            away = (z.detach() != 0).any(-1)
            # added and not multiplied: 0 * NaN would spoil the gradients of the other points
            return value + torch.where(away & (torch.arange(x.shape[1]) == 1), math.nan, 0.0)

    model = Cliff(n_features=6, n_hidden=1, n_latent=2)
    params = trees.stack([model.init(generator(0))])
    result = appendix_d.evidence(
        model, params, torch.rand(3, 6, generator=generator(1)), [generator(2)], warm_up=60
    )
    assert result.refused.tolist() == [[False, True, False]]
    assert result.acceptance[0, 1] == 0


def test_weights_that_are_not_finite_are_refused():
    log_w = torch.zeros(10, 1, 3)
    log_w[3, 0, 1], log_w[4, 0, 2] = math.nan, math.inf
    result = from_weights(log_w)
    assert result.refused.tolist() == [[False, True, True]]
    assert torch.isnan(result.log_prob[0, 1:]).all()


def test_a_refused_point_empties_the_mean_instead_of_being_left_out():
    log_w = torch.zeros(10, 2, 3)
    log_w[3, 0, 1] = math.nan
    result = from_weights(log_w)
    assert math.isnan(result.summary(0)["log_likelihood"])
    assert result.summary(0)["n_refused"] == 1
    assert result.summary(1)["log_likelihood"] == 0
    assert result.summary(1)["n_refused"] == 0


def test_the_summary_propagates_the_error_of_each_point():
    one = torch.ones(1, 4)
    log_prob = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    summary = Evidence(log_prob, 0.2 * one, 0.9 * one, 40 * one, 0.1 * one, one < 0).summary(0)
    assert summary["log_likelihood"] == 3
    assert summary["std_error"] == pytest.approx(0.2 / math.sqrt(4))
    assert summary["std_error_points"] == pytest.approx(log_prob.std().item() / 2)
    assert (summary["n_points"], summary["ess"]) == (4, 40)


def test_draws_for_the_evidence_come_from_the_exact_posterior_of_a_decoder():
    """The chains that Appendix D starts at z = 0: on a decoder, z* ~ p(z), x ~ p(x | z*), each chain's last draw is
    exchangeable with z*. Four leapfrog steps and the warm-up as shipped."""
    n_points = 1000
    model = BernoulliModel(8, 6, 2)
    theta = scramble(trees.stack([model.init(generator(0))]), seed=1).theta
    source = generator(11)
    z_exact = torch.randn(1, n_points, 2, generator=source)
    p = model.decode(theta, z_exact.unsqueeze(1))
    x = p.sample(torch.rand(1, 1, n_points, 8, generator=source)).squeeze(1)

    def log_joint(z):
        return model.log_joint(theta, x, z.unsqueeze(1)).squeeze(1)

    draws, _ = hmc.sample(log_joint, torch.zeros_like(z_exact), [generator(12)], 1, 4)
    z = draws[-1]
    for feature in (
        lambda z: z[0],
        lambda z: z[0].square(),
        lambda z: z[0, :, :1] * x[0],
        lambda z: log_joint(z)[0],
    ):
        assert_mean(feature(z) - feature(z_exact), 0.0)
