"""Quadrature against exact answers: probabilistic PCA, dense grids, probabilities that sum to one."""

import itertools
import math

import pytest
import torch

from aevb import UserError, trees
from aevb.distributions import standard_normal_log_prob
from aevb.evidence import Refusal, nodes, quadrature
from aevb.models import BernoulliModel, GaussianModel
from exact_ppca import PPCA
from helpers import equal, generator, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")

DENSE = {1: 4001, 2: 401}  # nodes in each direction of a grid over [-8, 8]


def evidence(model, params, x, **settings):
    n_models = len(params.theta["w_h"])
    return quadrature.evidence(model, params, x, [generator()] * n_models, **settings)


def dense(model, params, x):
    """log p(x) (B,) on a plain grid: a sum of the density at every node."""
    line = torch.linspace(-8, 8, DENSE[model.n_latent])
    z = torch.cartesian_prod(*[line] * model.n_latent).reshape(-1, model.n_latent)
    log_joint = nodes.log_likelihood(model, params.theta, x, z)[0] + standard_normal_log_prob(z).unsqueeze(-1)
    return torch.logsumexp(log_joint, 0) + model.n_latent * math.log(line[1] - line[0])


def assert_exact(result, expected, atol=1e-6):
    assert not result.refused.any()
    torch.testing.assert_close(result.estimate[0], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_the_evidence_of_ppca_is_exact(n_latent, monkeypatch):
    model = PPCA(n_features=6, n_hidden=1, n_latent=n_latent)
    params = trees.stack([model.init(generator(0))])
    x = model.sample(params.theta, generator(1), 3)[1][0]
    expected = model.log_evidence(params.theta, x[None])

    def check(_):
        assert_exact(evidence(model, params, x), expected)

    check(None)
    right = quadrature.standard_normal_log_prob
    with monkeypatch.context() as patch:
        patch.setattr(quadrature, "standard_normal_log_prob", lambda z: 0 * right(z))  # no prior
        rejects(check, "no prior")
        patch.setattr(quadrature, "standard_normal_log_prob", lambda z: right(z) + 0.92 * z.shape[-1])
        rejects(check, "no 2 pi")
    with monkeypatch.context() as patch:
        patch.setattr(quadrature.Lattice, "integral", lambda self: torch.logsumexp(self.log_p, 0).item())
        rejects(check, "no volume")


@pytest.mark.parametrize("kind", [BernoulliModel, GaussianModel])
@pytest.mark.parametrize("n_latent", [1, 2])
def test_the_evidence_of_a_decoder_is_that_of_a_dense_grid(kind, n_latent):
    model = kind(8, 6, n_latent, *((-20.0,) if kind is GaussianModel else ()))
    params = scramble(trees.stack([model.init(generator(0))]), scale=1.5, seed=1)
    x = torch.rand(5, 8, generator=generator(2))
    assert_exact(evidence(model, params, x), dense(model, params, x))


@pytest.mark.parametrize("n_latent", [1, 2])
def test_the_probabilities_of_all_images_sum_to_one(n_latent):
    model = BernoulliModel(3, 5, n_latent)
    params = scramble(trees.stack([model.init(generator(0))]), scale=2, seed=1)
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))

    def check(estimate):
        assert torch.logsumexp(estimate(x).estimate[0], 0).abs() < 1e-5

    check(lambda x: evidence(model, params, x))
    rejects(check, lambda x: evidence(model, params, x[1:]), lambda x: evidence(model, params, 0.99 * x))


class Folded(PPCA):
    """x depends on the square of the last latent: two modes of equal mass, with nothing between them."""

    def decode(self, theta, z):
        return super().decode(theta, torch.cat([z[..., :-1], z[..., -1:].square()], -1))


@pytest.mark.parametrize("n_latent", [1, 2])
def test_every_mode_counts(n_latent):
    model = Folded(n_features=6, n_hidden=1, n_latent=n_latent, noise_log_var=math.log(0.3))
    params = trees.stack([model.init(generator(0))])
    z = torch.full((1, 1, 1, n_latent), 1.3)
    x = model.decode(params.theta, z).mean[0, 0]
    expected = dense(model, params, x)

    def check(shift):
        result = evidence(model, params, x)
        assert_exact(result._replace(estimate=result.estimate + shift), expected)

    check(0.0)
    rejects(check, -math.log(2))  # one of the two


def test_a_narrow_posterior_is_resolved():
    """Pixels known to a hundredth: the posterior is far narrower than the coarse lattice's spacing."""
    model = PPCA(n_features=20, n_hidden=1, n_latent=3, noise_log_var=math.log(0.01))
    params = trees.stack([model.init(generator(0))])
    x = model.sample(params.theta, generator(1), 3)[1][0]
    posterior = model.posterior(params.theta, x[None])
    assert posterior.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt().max() < 0.05
    result = evidence(model, params, x)
    exact = model.log_evidence(params.theta, x[None])
    trusted = ~result.refused[0]
    torch.testing.assert_close(result.estimate[0, trusted], exact[trusted], rtol=0, atol=1e-5)
    assert trusted.any()


# --------------------------------------------------------------------------------- stacks, chunks, refusals


def two_models():
    model = PPCA(n_features=6, n_hidden=1, n_latent=2)
    params = trees.stack([model.init(generator(m)) for m in range(2)])
    return model, params, model.sample(trees.take(params, 0).theta, generator(3), 5)[1][0]


def test_models_of_a_stack_and_chunks_of_points_have_their_own_evidence(monkeypatch):
    model, params, x = two_models()
    monkeypatch.setattr(quadrature, "POINTS", 2)
    result = evidence(model, params, x)
    alone = [evidence(model, trees.take(params, m), x).estimate[0] for m in range(2)]
    torch.testing.assert_close(result.estimate, torch.stack(alone), rtol=0, atol=1e-9)
    assert all(field.shape == (2, 5) for field in result)


def test_a_diverged_model_is_refused_alone():
    model, params, x = two_models()
    well = evidence(model, params, x)
    params.theta["w_h"][1] = math.nan
    result = evidence(model, params, x)
    assert (result.refusal[1] == Refusal.NOT_FINITE).all()
    assert torch.isnan(result.log_prob[1]).all()
    assert equal(result.estimate[0], well.estimate[0])


def test_a_point_of_zero_density_is_refused_and_the_others_are_not():
    model, params, x = two_models()
    x[2] = math.inf
    result = evidence(model, params, x)
    assert result.refused[0].tolist() == [False, False, True, False, False]


def test_no_agreement_within_the_refinements_is_refused(monkeypatch):
    model, params, x = two_models()
    monkeypatch.setattr(quadrature, "MAX_NODES", 20)
    result = evidence(model, params, x)
    assert (result.refusal == Refusal.UNCONVERGED).all()


def test_more_than_three_latent_dimensions_are_refused():
    model = BernoulliModel(6, 3, 4)
    params = trees.stack([model.init(generator(0))])
    with pytest.raises(UserError, match="N_z = 4"):
        evidence(model, params, torch.zeros(2, 6))
