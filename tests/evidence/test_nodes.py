"""evidence/nodes.py: the same log-likelihood as the model's own, at every pair of a point and a node."""

import math

import pytest
import torch

from aevb import trees
from aevb.evidence import nodes
from aevb.evidence.nodes import log_likelihood
from aevb.models import BernoulliModel, GaussianModel
from helpers import generator, randn, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")

MODELS = {"bernoulli": BernoulliModel(6, 5, 2), "gaussian": GaussianModel(6, 5, 2, log_var_floor=-2.0)}


def problem(model, n_points=7, n_nodes=11):
    """Two models, grey points, nodes."""
    params = scramble(trees.stack([model.init(generator(m)) for m in range(2)]), seed=1)
    return params.theta, torch.rand(n_points, 6, generator=generator(2)), randn(n_nodes, 2, seed=3).double()


def one_by_one(model, theta, x, z):
    """Each point with every node by the model's own log_likelihood, (M, G, B)."""
    n_models = len(theta["w_h"])
    x, z = x.expand(n_models, -1, -1), z.unsqueeze(1).expand(n_models, -1, x.shape[0], -1)
    return model.log_likelihood(theta, x, z)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_it_is_the_models_own_at_every_point_and_node(model):
    theta, x, z = problem(model)
    expected = one_by_one(model, theta, x, z)

    def check(log_likelihood):
        torch.testing.assert_close(log_likelihood(model, theta, x, z), expected, rtol=1e-12, atol=1e-11)

    check(log_likelihood)
    swapped = {name: w.flip(0) for name, w in theta.items()}
    rejects(
        check,
        lambda model, theta, x, z: log_likelihood(model, swapped, x, z),  # the other model of the stack
        lambda model, theta, x, z: log_likelihood(model, theta, x.round(), z),  # pixels made binary
        lambda model, theta, x, z: log_likelihood(model, theta, x.flip(0), z),
        lambda model, theta, x, z: log_likelihood(model, theta, x, z.flip(0)),
        lambda model, theta, x, z: log_likelihood(model, theta, x, z) + 3 * math.log(2 * math.pi),
        lambda model, theta, x, z: log_likelihood(model, theta, x, z) / 6,  # a mean over pixels
    )


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_chunks_of_nodes_change_nothing(model, monkeypatch):
    theta, x, z = problem(model)
    whole = log_likelihood(model, theta, x, z)
    assert whole.shape == (2, 11, 7)
    for size in (1, 4, 11):
        monkeypatch.setattr(nodes, "CHUNK", size)
        torch.testing.assert_close(log_likelihood(model, theta, x, z), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", [BernoulliModel(784, 20, 2), GaussianModel(784, 20, 2, -2.0)], ids=MODELS)
def test_in_single_precision_the_terms_of_784_pixels_cancel_to_a_hundredth_of_a_nat(model):
    theta = scramble(trees.stack([model.init(generator(0))]), 0.5, seed=1).theta
    x, z = torch.rand(20, 784, generator=generator(2)), randn(50, 2, seed=3).double()
    single = log_likelihood(model, {name: w.float() for name, w in theta.items()}, x, z)
    assert single.dtype == torch.float32
    assert (single.double() - log_likelihood(model, theta, x, z)).abs().max() < 0.01


def test_values_far_out_do_not_overflow():
    """Logits of thousands, as at the outermost candidates of a decoder with large weights."""
    model = MODELS["bernoulli"]
    theta, x, z = problem(model)
    theta = theta | {"w_out": 1000 * theta["w_out"]}
    result = log_likelihood(model, theta, x, z)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result, one_by_one(model, theta, x, z), rtol=1e-10, atol=1e-8)
