"""models.py: the networks of Appendix C as formulas, their axes, and their stacks."""

import pytest
import torch
from torch.distributions import Normal

from aevb import models, trees
from aevb.distributions import Bernoulli, Gaussian
from aevb.models import BernoulliModel, GaussianModel, Params
from helpers import assert_close, assert_mean, equal, generator, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")

BERNOULLI = BernoulliModel(6, 5, 2)
GAUSSIAN = GaussianModel(6, 5, 2, -3.0)
BOTH = pytest.mark.parametrize("model", [BERNOULLI, GAUSSIAN], ids=["bernoulli", "gaussian"])


def params_of(model, n_models=3, scale=1.0) -> Params:
    start = trees.stack([model.init(generator(seed)) for seed in range(n_models)])
    return scramble(start, scale)


def points(n_models=3, n_points=4) -> torch.Tensor:
    return torch.rand(n_models, n_points, 6, generator=generator(1))


def latents(n_models=3, n_samples=2, n_points=4) -> torch.Tensor:
    return torch.randn(n_models, n_samples, n_points, 2, generator=generator(2))


@BOTH
def test_axes_are_models_samples_points_features(model):
    params, x, z = params_of(model), points(), latents()
    assert model.encode(params.phi, x).mu.shape == (3, 4, 2)
    assert model.encode(params.phi, x).log_var.shape == (3, 4, 2)
    assert model.decode(params.theta, z).mean.shape == (3, 2, 4, 6)
    assert model.log_joint(params.theta, x, z).shape == (3, 2, 4)


def mlp(weights, head, inputs):
    """One model's layer of Appendix C, a matrix product at a time; `head` is its place among the outputs."""
    h = torch.tanh(inputs @ weights["w_h"][0] + weights["b_h"][0])
    return h @ weights["w_out"][0][:, head] + weights["b_out"][0][:, head]


@BOTH
def test_the_encoder_is_a_tanh_network_with_a_mean_and_a_log_variance(model):
    params, x = params_of(model, 1), points(1)
    q = model.encode(params.phi, x)
    assert_close({"a": q.mu[0]}, {"a": mlp(params.phi, slice(0, 2), x[0])}, 1e-12, 1e-14)
    assert_close({"a": q.log_var[0]}, {"a": mlp(params.phi, slice(2, 4), x[0])}, 1e-12, 1e-14)


def test_the_bernoulli_decoder_is_a_tanh_network_with_a_sigmoid_mean():
    params, z = params_of(BERNOULLI, 1), latents(1)
    expected = torch.sigmoid(mlp(params.theta, slice(0, 6), z[0]))
    assert_close({"a": BERNOULLI.decode(params.theta, z).mean[0]}, {"a": expected}, 1e-12, 1e-14)


def test_the_gaussian_decoder_has_a_sigmoid_mean_and_a_linear_log_variance_above_its_floor():
    params, z = params_of(GAUSSIAN, 1), latents(1)
    p = GAUSSIAN.decode(params.theta, z)
    log_var = mlp(params.theta, slice(6, 12), z[0])
    assert (log_var < GAUSSIAN.log_var_floor).any(), "the floor must bite for this test to say anything"
    assert_close({"a": p.mu[0]}, {"a": torch.sigmoid(mlp(params.theta, slice(0, 6), z[0]))}, 1e-12, 1e-14)
    assert_close({"a": p.log_var[0]}, {"a": log_var.clamp(min=-3.0)}, 1e-12, 1e-14)


@BOTH
def test_log_joint_is_prior_times_likelihood(model):
    def check(log_joint):
        params, x, z = params_of(model), points(), latents()
        p = model.decode(params.theta, z)
        prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
        expected = p.log_prob(x.unsqueeze(1).expand(-1, 2, -1, -1)) + prior
        assert_close({"a": log_joint(params.theta, x, z)}, {"a": expected}, 1e-12, 1e-12)

    check(model.log_joint)
    rejects(
        check,
        model.log_likelihood,
        lambda theta, x, z: model.log_likelihood(theta, x, z) - Normal(0.0, 1.0).log_prob(z).sum(-1),
        lambda theta, x, z: model.log_joint(theta, x.flip(1), z),  # a point's latents with another's pixels
    )


@BOTH
def test_a_stacked_model_computes_what_it_computes_alone(model):
    params, x, z = params_of(model), points(), latents()
    together = model.log_joint(params.theta, x, z)
    for m in range(3):
        alone = trees.take(params, m)
        assert_close(
            {"a": together[m : m + 1], "q": trees.take(model.encode(params.phi, x), m).mu},
            {
                "a": model.log_joint(alone.theta, x[m : m + 1], z[m : m + 1]),
                "q": model.encode(alone.phi, x[m : m + 1]).mu,
            },
            1e-12,
            1e-12,
        )


def test_initial_weights_have_standard_deviation_one_hundredth():
    """Section 5 writes N(0, 0.01); in the authors' code it is the standard deviation."""

    def check(draws):
        assert_mean(draws, 0.0)
        assert_mean(draws.square(), 0.01**2)

    params = BernoulliModel(200, 100, 10).init(generator(3))
    draws = torch.cat([w.flatten() for w in trees.leaves(params).values()])
    check(draws)
    rejects(check, 10 * draws, 1.1 * draws)  # the variance 0.01; ten per cent too wide


def test_initial_weights_depend_on_the_generator_alone():
    assert equal(BERNOULLI.init(generator(4)), BERNOULLI.init(generator(4)))
    assert not equal(BERNOULLI.init(generator(4)), BERNOULLI.init(generator(5)))


@BOTH
def test_names_tell_weights_from_biases(model):
    for name, w in trees.leaves(model.init(generator(0))).items():
        assert name.split(".")[1][:2] == ("b_" if w.shape[0] == 1 else "w_"), name


def test_marginal_probabilities_of_all_images_sum_to_one():
    """Sum over x of the integral over z of p(x, z), by the trapezoid rule in one latent dimension."""
    model = BernoulliModel(6, 5, 1)
    theta = scramble(trees.stack([model.init(generator(0))])).theta
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).unsqueeze(0)
    nodes = torch.linspace(-10, 10, 2001)
    z = nodes.reshape(1, -1, 1, 1).expand(1, -1, images.shape[1], 1)
    p = torch.trapezoid(model.log_joint(theta, images, z).exp(), nodes, dim=1)
    assert abs(p.sum().item() - 1) < 1e-12


def test_build_chooses_gaussian_outputs_where_a_floor_is_given():
    assert models.build(6, 5, 2, None) == BERNOULLI
    assert models.build(6, 5, 2, -3.0) == GAUSSIAN
    assert (BERNOULLI.likelihood, GAUSSIAN.likelihood) == (Bernoulli, Gaussian)


def test_saved_weights_stack_into_the_params_they_came_from():
    params = params_of(BERNOULLI)
    saved = [trees.leaves(trees.take(params, m)) for m in range(3)]
    assert equal(models.stack_weights(saved, torch.device("cpu")), params)
