"""estimators/__init__.py: the gradient that every algorithm hands to its optimiser, and their registry."""

import pytest
import torch

from aevb import UserError, algorithms, estimators, trees
from aevb.estimators import gradient
from aevb.models import BernoulliModel, Params
from helpers import assert_close, equal, finite_differences, generator, log_prior, rejects, scramble

MODEL = BernoulliModel(5, 4, 2)


def params_of(n_models: int) -> Params:
    return scramble(trees.stack([MODEL.init(generator(m)) for m in range(n_models)]))


def objective_on(x):
    """A sum over the points that depends on every weight and bias of both networks."""

    def objective(params: Params) -> torch.Tensor:
        q = MODEL.encode(params.phi, x)
        return (MODEL.log_joint(params.theta, x, q.mu.unsqueeze(1)).squeeze(1) - q.kl()).sum(-1)

    return objective


def check_gradient(gradient):
    """Of a sum over 30 points, and of nothing else."""
    params, x = params_of(1), torch.rand(1, 30, 5, generator=generator(7))
    objective = objective_on(x)
    value, grads = gradient(objective, params)
    expected = finite_differences(lambda p: objective(p).sum(), params)
    assert_close(grads, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(value, objective(params))
    assert not any(w.requires_grad for w in (value, *trees.leaves(grads).values()))


@pytest.mark.usefixtures("double")
def test_gradient_is_that_of_the_objective():
    check_gradient(gradient)
    with torch.no_grad():
        check_gradient(gradient)
    rejects(
        check_gradient,
        lambda objective, params: gradient(lambda p: objective(p) / 30, params),  # mean
        lambda objective, params: gradient(lambda p: objective(p) + 0.1 * log_prior(p), params),
        lambda objective, params: gradient(lambda p: -objective(p), params),
    )


@pytest.mark.usefixtures("double")
def test_each_stacked_model_gets_its_own_gradient():
    params, x = params_of(3), torch.rand(3, 6, 5, generator=generator(8))
    value, grads = gradient(objective_on(x), params)
    for m in range(3):
        alone = gradient(objective_on(x[m : m + 1]), trees.take(params, m))
        assert_close(trees.take(grads, m), alone[1], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(value[m : m + 1], alone[0])


def test_the_weights_themselves_are_left_alone():
    params = params_of(2)
    before = trees.copy(params)
    gradient(objective_on(torch.rand(2, 6, 5, generator=generator(9))), params)
    assert equal(params, before)
    assert not any(w.requires_grad for w in trees.leaves(params).values())


def test_an_unknown_estimator_is_refused_by_name():
    with pytest.raises(UserError, match="no_such"):
        estimators.load("no_such")


def test_every_estimator_file_is_known_by_its_name():
    assert {"aevb", "mcem", "wake_sleep"} <= set(algorithms.estimators())
    assert all(callable(estimators.load(name)) for name in algorithms.estimators())
