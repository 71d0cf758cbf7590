"""estimators/__init__.py: the gradient that every algorithm ascends, with the MAP prior of section 5."""

import pytest
import torch

from aevb import UserError, estimators, provenance, trees
from aevb.estimators import map_gradient
from aevb.models import BernoulliModel, Params
from helpers import assert_close, finite_differences, generator, log_prior, rejects, scramble

MODEL = BernoulliModel(5, 4, 2)


def params_of(n_models: int) -> Params:
    return scramble(trees.stack([MODEL.init(generator(m)) for m in range(n_models)]))


def objective_on(x):
    """A sum over the points that depends on every weight and bias of both networks."""

    def objective(params: Params) -> torch.Tensor:
        q = MODEL.encode(params.phi, x)
        return (MODEL.log_joint(params.theta, x, q.mu.unsqueeze(1)).squeeze(1) - q.kl()).sum(-1)

    return objective


def check_map_gradient(gradient):
    """M/N times the prior of the weights, and none of the biases: 30 points of 300."""
    params, x = params_of(1), torch.rand(1, 30, 5, generator=generator(7))
    objective = objective_on(x)
    value, grads = gradient(objective, params, 0.1)
    expected = finite_differences(lambda p: objective(p).sum() + 0.1 * log_prior(p), params)
    assert_close(grads, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(value, objective(params))


@pytest.mark.usefixtures("double")
def test_map_gradient_is_that_of_the_objective_plus_the_scaled_log_prior_of_the_weights():
    def with_biases(objective, params, fraction):
        value, grads = map_gradient(objective, params, 0.0)
        named = {n: g - fraction * trees.leaves(params)[n] for n, g in trees.leaves(grads).items()}
        return value, trees.rebuild(grads, named)

    check_map_gradient(map_gradient)
    rejects(
        check_map_gradient,
        lambda objective, params, fraction: map_gradient(objective, params, 0.0),  # no prior
        lambda objective, params, fraction: map_gradient(objective, params, 1.0),  # not scaled by M/N
        lambda objective, params, fraction: map_gradient(objective, params, -fraction),
        lambda objective, params, fraction: map_gradient(
            lambda p: objective(p) / 30, params, fraction
        ),  # mean
        with_biases,
    )


@pytest.mark.usefixtures("double")
def test_each_stacked_model_gets_its_own_gradient():
    params, x = params_of(3), torch.rand(3, 6, 5, generator=generator(8))
    value, grads = map_gradient(objective_on(x), params, 0.1)
    for m in range(3):
        alone = map_gradient(objective_on(x[m : m + 1]), trees.take(params, m), 0.1)
        assert_close(trees.take(grads, m), alone[1], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(value[m : m + 1], alone[0])


def test_an_unknown_estimator_is_refused_by_name():
    with pytest.raises(UserError, match="no_such"):
        estimators.load("no_such")


def test_every_estimator_file_is_known_by_its_name():
    assert {"aevb", "mcem", "wake_sleep"} <= set(provenance.estimators())
    assert all(callable(estimators.load(name)) for name in provenance.estimators())
