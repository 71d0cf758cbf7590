"""Row 3 of VERIFICATION.md: importance sampling from the encoder, against SGVB-A and probabilistic PCA."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal

from aevb import trees
from aevb.evidence import Refusal, diagnostics, importance, posterior
from aevb.evidence.importance import elbo, evidence
from aevb.models import BernoulliModel, GaussianModel, Params
from exact_ppca import PPCA
from helpers import SDS, assert_mean, equal, generator, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")


def problem(n_latent, n_points, n_models=1, model=PPCA):
    """Different models of a stack with the encoders of their highest ELBO, points of the first."""
    model = model(n_features=6, n_hidden=1, n_latent=n_latent)
    thetas = [trees.stack([model.init(generator(m))]).theta for m in range(n_models)]
    params = trees.concatenate([Params(theta, model.best_encoder(theta)) for theta in thetas])
    return model, params, model.sample(thetas[0], generator(100), n_points)[1][0]


def log_evidence(model, params, x):
    """Exact, (M, B)."""
    models = range(len(params.theta["w_h"]))
    return torch.stack([model.log_evidence(trees.take(params, m).theta, x[None]) for m in models])


def generators(n, seed=10):
    return [generator(seed + m) for m in range(n)]


WIDER, OFF = 1.5, 0.5  # q's variance in the posterior's, its distance in the posterior's standard deviations


def with_an_encoder_that_is_off(n_copies, n_points=1):
    """N_z = 1, each of a few points many times over: estimates of one number that are independent of each other."""
    model, params, x = problem(1, n_points)
    phi = params.phi
    off = {
        "b_log_var": phi["b_log_var"] + math.log(WIDER),
        "b_mu": phi["b_mu"] + OFF * torch.exp(0.5 * phi["b_log_var"]),
    }
    params = params._replace(phi=phi | off)
    exact = log_evidence(model, params, x)[0]
    return model, params, x.repeat(n_copies, 1), exact.repeat(n_copies)


@pytest.fixture
def all_points_at_a_time(monkeypatch):
    monkeypatch.setattr(importance, "POINTS", 10**6)


def variance_of_a_weight():
    """Of w = p(z | x) / q(z): E_q w^2 - 1 by completing the square."""
    gap = 2 * WIDER - 1
    return WIDER / math.sqrt(gap) * math.exp(OFF**2 / gap) - 1


# ---------------------------------------------------------------------------------------------- its definition


def draws_of(model, phi, x, eps):
    """z = mu + sigma eps and log q(z | x) of torch.distributions; eps (M, K, B, N_z)."""
    q = model.encode(phi, x.expand(len(eps), -1, -1))
    normal = Normal(q.mu.unsqueeze(1), torch.exp(0.5 * q.log_var).unsqueeze(1))
    z = normal.loc + normal.scale * eps
    return z, normal.log_prob(z).sum(-1)


def log_weights(model, params, x, eps):
    """log p(x, z) - log q(z | x), (M, K, B): what SGVB-A (eq. 6) averages over K."""
    z, log_q = draws_of(model, params.phi, x, eps)
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    return model.log_likelihood(params.theta, x.expand(len(eps), -1, -1), z) + log_prior - log_q


def noise(n_models, k, n_points, n_latent):
    return torch.stack([torch.randn(k, n_points, n_latent, generator=g) for g in generators(n_models)])


MODELS = {
    "ppca": PPCA(6, 1, 2),
    "bernoulli": BernoulliModel(6, 5, 2),
    "gaussian": GaussianModel(6, 5, 2, log_var_floor=-2.0),
}


def stacked(model, n_points=7):
    params = scramble(trees.stack([model.init(generator(m)) for m in range(2)]), 0.5, seed=1)
    return params, torch.rand(n_points, 6, generator=generator(2))


@pytest.mark.filterwarnings("ignore:std")  # one draw has none
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_of_one_draw_it_is_sgvb_a_exactly(model):
    params, x = stacked(model)
    expected = log_weights(model, params, x, noise(2, 1, 7, 2))[:, 0]

    def check(estimate):
        result = estimate(model, params, x, generators(2), draws=1)
        torch.testing.assert_close(result.estimate, expected, rtol=1e-10, atol=1e-10)

    check(evidence)
    check(elbo)

    def sgvb_b(model, params, x, g, draws):
        """The KL divergence in closed form."""
        q = model.encode(params.phi, x.expand(2, -1, -1))
        z, _ = draws_of(model, params.phi, x, noise(2, draws, 7, 2))
        value = model.log_likelihood(params.theta, x.expand(2, -1, -1), z)[:, 0] - q.kl()
        return evidence(model, params, x, g, draws)._replace(estimate=value)

    def at_the_mean(model, params, x, g, draws):
        value = log_weights(model, params, x, 0 * noise(2, draws, 7, 2))[:, 0]
        return evidence(model, params, x, g, draws)._replace(estimate=value)

    rejects(
        check,
        sgvb_b,
        at_the_mean,
        lambda model, params, x, g, draws: evidence(model, params, x, g[::-1], draws),
        lambda model, params, x, g, draws: evidence(model, params, x.flip(0), g, draws),
    )


def check_definition(estimate):
    """log 1/K sum_k w_k of the weights of the same noise."""
    model = MODELS["bernoulli"]
    params, x = stacked(model)
    for k in (2, 30):
        w = log_weights(model, params, x, noise(2, k, 7, 2))
        result = estimate(model, params, x, generators(2), draws=k)
        expected = torch.logsumexp(w, 1) - math.log(k)
        torch.testing.assert_close(result.estimate, expected, rtol=1e-10, atol=1e-10)
        ess = torch.exp(2 * torch.logsumexp(w, 1) - torch.logsumexp(2 * w, 1))
        torch.testing.assert_close(result.ess, ess, rtol=1e-8, atol=0)


def averaged_wrongly(change):
    """`evidence` with another average: change(log weights (1, K, M, B)) in place of the estimate."""

    def wrong(*arguments, **settings):
        right = diagnostics.of_mean
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                diagnostics,
                "of_mean",
                lambda log_w, sign: right(log_w, sign)._replace(estimate=change(log_w)),
            )
            return evidence(*arguments, **settings)

    return wrong


mean_of_logs = averaged_wrongly(lambda log_w: log_w.mean((0, 1)))
no_log_k = averaged_wrongly(lambda log_w: torch.logsumexp(log_w, (0, 1)))
reciprocal = averaged_wrongly(
    lambda log_w: math.log(log_w.shape[1]) - torch.logsumexp(-log_w, (0, 1))
)  # the harmonic mean


def test_it_is_the_log_of_the_mean_weight():
    check_definition(evidence)
    rejects(check_definition, mean_of_logs, no_log_k, reciprocal, elbo)


def test_the_elbo_is_the_mean_log_weight_and_no_estimate():
    model = MODELS["bernoulli"]
    params, x = stacked(model)
    w = log_weights(model, params, x, noise(2, 30, 7, 2))
    result = elbo(model, params, x, generators(2), draws=30)
    torch.testing.assert_close(result.estimate, w.mean(1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(result.std_error, w.std(1) / math.sqrt(30), rtol=1e-8, atol=0)
    assert (result.refusal == Refusal.BOUND).all()
    summary = result.summary(0, importance.DIRECTION)
    assert math.isnan(summary["log_likelihood"])
    assert summary["lower_bound"] == pytest.approx(w[0].mean().item())


# -------------------------------------------------------------------------------------------- exact evidence


@pytest.mark.filterwarnings("ignore:std")
def test_with_the_exact_posterior_as_encoder_there_is_no_variance():
    """At N_z = 1 the best encoder is the posterior: every weight is p(x)."""
    model, params, x = problem(1, 5, n_models=2)
    expected = log_evidence(model, params, x)

    def check(scale, draws):
        phi = params.phi | {"b_log_var": params.phi["b_log_var"] + math.log(scale)}
        for estimate in (evidence, elbo):
            result = estimate(model, params._replace(phi=phi), x, generators(2), draws=draws)
            torch.testing.assert_close(result.estimate, expected, rtol=0, atol=1e-9)
            assert (result.log_range < 1e-9).all()
            if draws > 1:
                assert (result.std_error < 1e-9).all()
                torch.testing.assert_close(result.ess, torch.full_like(expected, draws))

    for draws in (1, 2, 50):
        check(1.0, draws)
    assert not evidence(model, params, x, generators(2), draws=50).refused.any()
    rejects(lambda scale: check(scale, 50), 1.001, 0.999)


def check_unbiased(estimate):
    """E w = p(x): 3 points, 2000 independent estimates of 5 draws each."""
    model, params, x, exact = with_an_encoder_that_is_off(2000, n_points=3)
    ratio = torch.exp(estimate(model, params, x, generators(1), draws=5).estimate[0] - exact)
    assert_mean(ratio.unflatten(0, (2000, 3)), 1.0)


@pytest.mark.usefixtures("all_points_at_a_time")
def test_the_mean_weight_is_unbiased():
    check_unbiased(evidence)

    class NoPrior(PPCA):
        def log_joint(self, theta, x, z):
            return self.log_likelihood(theta, x, z)

    rejects(
        check_unbiased,
        mean_of_logs,
        no_log_k,
        reciprocal,
        elbo,
        lambda model, *arguments, **settings: evidence(NoPrior(6, 1, 1), *arguments, **settings),
    )


def check_bias(estimate):
    """Jensen: 60,000 estimates of 10 draws are too low by Var(w) / 2K on average, Var(w) being known.

    What comes after, of order 1/K^2, is some ten-thousandths of a nat, as is the standard error.
    """
    model, params, x, exact = with_an_encoder_that_is_off(60_000)
    error = (estimate(model, params, x, generators(1), draws=10).estimate[0] - exact).unsqueeze(1)
    assert_mean(error, -variance_of_a_weight() / 20)


@pytest.mark.usefixtures("all_points_at_a_time")
def test_it_is_too_low_by_the_variance_of_a_weight_over_2k():
    check_bias(evidence)
    rejects(
        check_bias,
        mean_of_logs,
        no_log_k,
        lambda model, params, x, g, draws: evidence(model, params, x, g, draws=2 * draws),
        lambda model, params, x, g, draws: evidence(model, params, x, g, draws=draws // 2),
    )


def check_monotone(estimate):
    """More draws give a higher bound, and none lies above log p(x): 20,000 estimates for every K."""
    model, params, x, exact = with_an_encoder_that_is_off(20_000)
    bounds = [estimate(model, params, x, generators(1, seed=k), draws=k).estimate[0] for k in (1, 2, 5)]
    for lower, higher in pairwise([*bounds, exact]):
        rise = higher - lower
        assert rise.mean() > SDS * rise.std() / math.sqrt(20_000)


@pytest.mark.usefixtures("all_points_at_a_time")
def test_the_bound_rises_with_every_draw_and_stays_below():
    check_monotone(evidence)
    rejects(check_monotone, mean_of_logs, no_log_k, reciprocal)


def check_calibrated(estimate):
    """Errors of 300 points in units of their standard errors: none on average, of size one."""
    model, params, x, exact = with_an_encoder_that_is_off(300)
    result = estimate(model, params, x, generators(1), draws=500)
    scores = (result.estimate[0] - exact) / result.std_error[0]
    assert abs(scores.std().item() - 1) < 0.05 + SDS / math.sqrt(2 * 300)
    assert abs(scores.mean().item()) < 0.05 + SDS / math.sqrt(300)


def test_the_standard_error_is_that_of_the_estimate():
    check_calibrated(evidence)
    rejects(
        check_calibrated,
        lambda *args, **settings: (r := evidence(*args, **settings))._replace(std_error=2 * r.std_error),
        lambda *args, **settings: (r := evidence(*args, **settings))._replace(std_error=r.std_error / 2),
    )


def check_elbo(estimate):
    """The ELBO in closed form of encoders that are far off, 2 models, 100 points each: errors in units of their own
    standard errors have mean zero and size one."""
    model = PPCA(6, 1, 2)
    params = trees.stack([model.init(generator(m)) for m in range(2)])
    x = model.sample(trees.take(params, 0).theta, generator(100), 100)[1][0]
    result = estimate(model, params, x, generators(2), draws=200)
    scores = (result.estimate - model.exact_elbo(params, x.expand(2, -1, -1))) / result.std_error
    assert_mean(scores.reshape(-1, 1), 0.0)
    assert abs(scores.std().item() - 1) < SDS / math.sqrt(2 * 200)


def test_the_elbo_is_the_exact_one_on_average():
    check_elbo(elbo)
    rejects(
        check_elbo,
        evidence,
        lambda model, params, x, g, draws: elbo(model, params, x.flip(0), g, draws),
        lambda model, params, x, g, draws: elbo(
            model, params._replace(phi=params.phi | {"b_mu": 1.1 * params.phi["b_mu"]}), x, g, draws
        ),
    )


# --------------------------------------------------------------------------------------- without an encoder


class Folded(PPCA):
    """Linear in |z - 0.2| at N_z = 1: a posterior of two modes, whose evidence is the sum of two integrals."""

    def decode(self, theta, z):
        return super().decode(theta, (z - 0.2).abs())

    def log_evidence(self, theta, x):
        nodes = torch.linspace(-8, 8, 8001)
        log_joint = self.log_joint(theta, x, nodes.reshape(1, -1, 1, 1).expand(-1, -1, x.shape[1], -1))[0]
        return torch.logsumexp(log_joint, 0) + (nodes[1] - nodes[0]).log()


@pytest.mark.parametrize(
    ("n_latent", "kind"), [(1, Folded), (2, PPCA), (3, PPCA)], ids=["two modes", "N_z = 2", "N_z = 3"]
)
def test_without_an_encoder_a_mixture_fitted_to_posterior_draws_takes_its_place(n_latent, kind, monkeypatch):
    """Right to a hundredth of a nat at each of 40 points, without bias to speak of."""
    monkeypatch.setattr(posterior, "CANDIDATES", 2**12)
    model, params, x = problem(n_latent, 40, model=kind)
    exact = log_evidence(model, params, x)

    def check(model):
        result = evidence(model, params._replace(phi={}), x, generators(1))
        error = (result.estimate - exact)[0]
        standard_error = error.std().item() / math.sqrt(40)
        assert abs(error.mean().item()) < 0.001 + SDS * standard_error
        assert error.square().mean().sqrt() < 0.01 * math.sqrt(n_latent)
        assert result.refused.double().mean() < 0.2  # k-hat is itself estimated
        assert 0.6 < (error / result.std_error[0]).square().mean().sqrt() < 2

    class NoPrior(kind):
        def log_joint(self, theta, x, z):
            return self.log_likelihood(theta, x, z)

    check(model)
    rejects(check, NoPrior(6, 1, n_latent))


def test_q_is_normalised_as_a_mixture(monkeypatch):
    """A density of q that is off by a factor is an error of its log."""
    monkeypatch.setattr(posterior, "CANDIDATES", 2**12)
    model, params, x = problem(2, 10, model=PPCA)
    exact = log_evidence(model, params, x)

    def check(widening):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importance, "WIDENING", widening)
            result = evidence(model, params._replace(phi={}), x, generators(1), draws=2000)
        assert (result.estimate - exact).abs().max() < 0.1

    for widening in (1.5, 2.0, 3.0):  # whatever q is
        check(widening)
    rejects(check, 0.02)  # but it must reach as far as the posterior


# ----------------------------------------------------------------------------------------------------- refusals


def test_without_an_encoder_and_beyond_four_dimensions_it_is_refused():
    model = BernoulliModel(6, 5, 5)
    params = trees.stack([model.init(generator(m)) for m in range(2)])._replace(phi={})
    result = evidence(model, params, torch.zeros(3, 6), generators(2))
    assert result.refusal.tolist() == [[Refusal.NO_ENCODER] * 3] * 2
    assert torch.isnan(result.estimate).all()


def test_there_is_no_elbo_without_an_encoder():
    model = BernoulliModel(6, 5, 2)
    params = trees.stack([model.init(generator(0))])._replace(phi={})
    assert elbo(model, params, torch.zeros(3, 6), generators(1)).refusal.tolist() == [
        [Refusal.NO_ENCODER] * 3
    ]


def test_an_encoder_far_off_is_refused_but_its_bound_holds():
    """PPCA's first encoder: weights whose variance is infinite. In expectation they still are a bound from below."""
    model = PPCA(6, 1, 2)
    params = trees.stack([model.init(generator(0))])
    x = model.sample(params.theta, generator(100), 200)[1][0]
    result = evidence(model, params, x, generators(1), draws=200)
    exact = log_evidence(model, params, x)
    assert (result.refusal == Refusal.HEAVY_TAIL).any()
    summary = result.summary(0, importance.DIRECTION)
    assert math.isnan(summary["log_likelihood"])
    assert summary["lower_bound"] < exact.mean().item() - 1
    bound = model.exact_elbo(params, x[None]).mean().item()
    assert bound < summary["lower_bound"]


@pytest.mark.parametrize("estimate", [evidence, elbo])
def test_a_model_that_diverged_is_refused_and_leaves_the_others_alone(estimate):
    model = MODELS["bernoulli"]
    params, x = stacked(model)
    well = estimate(model, params, x, generators(2), draws=50)
    named = trees.leaves(params)
    named["theta.w_h"] = named["theta.w_h"].clone()
    named["theta.w_h"][1] = math.nan
    result = estimate(model, trees.rebuild(params, named), x, generators(2), draws=50)
    assert (result.refusal[1] == Refusal.NOT_FINITE).all()
    for mine, before in zip(result, well, strict=True):
        assert equal(mine[0], before[0])


# -------------------------------------------------------------------------------------------- stacks and chunks


def test_memory_does_not_change_the_result(monkeypatch):
    """Draws a few at a time are the same draws: 8 points and N_z = 2, so that torch's generator fills blocks."""
    model = MODELS["bernoulli"]
    params, x = stacked(model, n_points=8)
    whole = [estimate(model, params, x, generators(2), draws=60) for estimate in (evidence, elbo)]
    for rows in (1, 16 * 7, 10**6):  # one draw at a time, 7 at a time, all at once
        monkeypatch.setattr(importance, "ROWS", rows)
        for estimate, expected in zip((evidence, elbo), whole, strict=True):
            result = estimate(model, params, x, generators(2), draws=60)
            torch.testing.assert_close(tuple(result), tuple(expected), rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("points", [1, 6, 100])
def test_points_in_chunks_have_their_own_evidence(points, monkeypatch):
    """With the posterior as encoder the result does not depend on the noise."""
    monkeypatch.setattr(importance, "POINTS", points)
    model, params, x = problem(1, 5, n_models=2)
    for estimate in (evidence, elbo):
        result = estimate(model, params, x, generators(2), draws=3)
        torch.testing.assert_close(result.estimate, log_evidence(model, params, x), rtol=0, atol=1e-9)


def test_draws_depend_on_the_generators_alone_and_not_on_the_position_in_the_stack():
    model = MODELS["bernoulli"]
    params, x = stacked(model)
    swapped = trees.rebuild(params, {name: w.flip(0) for name, w in trees.leaves(params).items()})
    before = torch.random.get_rng_state()
    one = evidence(model, params, x, generators(2), draws=50)
    other = evidence(model, swapped, x, generators(2)[::-1], draws=50)
    torch.testing.assert_close(one.estimate, other.estimate.flip(0), rtol=1e-10, atol=1e-10)
    assert torch.equal(before, torch.random.get_rng_state())


def test_single_precision_weights_are_averaged_in_double():
    model = MODELS["bernoulli"]
    params, x = stacked(model)
    result = evidence(model, params, x, generators(2), draws=50)
    single = trees.rebuild(params, {name: w.float() for name, w in trees.leaves(params).items()})
    torch.set_default_dtype(torch.float32)
    other = evidence(model, single, x.float(), generators(2), draws=50)
    assert result.estimate.dtype == other.estimate.dtype == torch.float64
    assert torch.isfinite(other.estimate).all()
