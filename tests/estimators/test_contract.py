"""Row 9 of VERIFICATION.md: what every algorithm in estimators/ promises. A new file is tested as it appears.

Each promise is a function of `build`, so that it can be seen to refuse algorithms that break it.
"""

import numpy as np
import pytest
import torch

from aevb import estimators, provenance, trees
from aevb.bounds import mean_elbo
from aevb.estimators import aevb
from aevb.models import BernoulliModel, GaussianModel
from aevb.optimisers import Optimiser, adagrad
from helpers import assert_close, equal, generator, pure, rejects, scramble

MODELS = {"bernoulli": BernoulliModel(6, 4, 2), "gaussian": GaussianModel(6, 4, 2, -6.0)}
N, STEPS = 8, [0.05, 0.1, 0.3]

every_estimator = pytest.mark.parametrize("name", provenance.estimators())
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def optimiser(steps=STEPS) -> Optimiser:
    return pure(adagrad(torch.tensor(steps, dtype=torch.get_default_dtype()), warm_up=1))


def start(model, estimator, n_models=3):
    """A stack with weights of order one, so that every path carries a signal."""
    params = trees.concatenate(
        [scramble(trees.stack([model.init(generator(m))]), 0.8, m) for m in range(n_models)]
    )
    return estimator.init(params)


def data(n_models=3) -> torch.Tensor:
    return torch.rand(n_models, N, 6, generator=generator(1))


def noise_of(estimator, seeds=(0, 1, 2)):
    return trees.stack([estimator.draw(generator(seed), N) for seed in seeds])


def wrapped(around):
    """AEVB with another step: around(inner step, state, x, noise)."""

    def build(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)
        return inner._replace(step=lambda state, x, noise: around(inner.step, state, x, noise))

    return build


def with_params(state, change):
    named = {name: change(name, w) for name, w in trees.leaves(state.params).items()}
    return state._replace(params=trees.rebuild(state.params, named))


def check_shapes(build, model):
    estimator = build(model, optimiser(), N)
    state = start(model, estimator)

    def shapes(tree):
        return {name: (value.shape, value.dtype) for name, value in trees.leaves(tree).items()}

    first = shapes(state)
    assert all(shape[0] == 3 for shape, _ in first.values()), "the model axis comes first"
    for _ in range(3):
        state, info = estimator.step(state, data(), noise_of(estimator))
        assert shapes(state) == first
        assert info.bound.shape == info.surrogate.shape == (3,)


@every_estimator
@every_model
def test_state_keeps_its_shapes_and_dtypes(name, model):
    check_shapes(estimators.load(name), model)


def test_a_state_that_changes_shape_or_dtype_is_noticed():
    def doubles(step, state, x, noise):
        new, info = step(state, x, noise)
        return with_params(new, lambda name, w: w.double()), info

    def grows(step, state, x, noise):
        new, info = step(state, x, noise)
        return with_params(new, lambda name, w: torch.cat([w, w], -1)), info

    def scalar_bound(step, state, x, noise):
        new, info = step(state, x, noise)
        return new, info._replace(bound=info.bound.mean())

    model = MODELS["bernoulli"]
    rejects(lambda build: check_shapes(build, model), *map(wrapped, (doubles, grows, scalar_bound)))


def check_deterministic(build, model):
    """Same state, batch and noise, whatever the global generator does: the same bits."""
    estimator = build(model, optimiser(), N)
    state, x, noise = start(model, estimator), data(), noise_of(estimator)
    torch.manual_seed(1)
    one = estimator.step(*map(trees.copy, (state, x, noise)))
    torch.manual_seed(2)
    other = estimator.step(*map(trees.copy, (state, x, noise)))
    assert equal(one[0], other[0])
    assert equal(one[1], other[1])


def check_not_mutated(build, model):
    """Only the optimiser may consume what it is given: with a pure one, a step changes nothing."""
    estimator = build(model, optimiser(), N)
    state, x, noise = start(model, estimator), data(), noise_of(estimator)
    for _ in range(2):
        before = tuple(map(trees.copy, (state, x, noise)))
        new, _ = estimator.step(state, x, noise)
        assert all(equal(now, then) for now, then in zip((state, x, noise), before, strict=True))
        state = new


def check_no_global_randomness(build, model):
    """draw and step leave the global generators of torch and numpy alone, and do not look at them."""
    before, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    estimator = build(model, optimiser(), N)
    noise = noise_of(estimator)
    estimator.step(start(model, estimator), data(), noise)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (before_numpy == np.random.get_state()[1]).all()  # noqa: NPY002
    assert equal(noise, noise_of(estimator))
    assert not equal(noise, noise_of(estimator, (3, 4, 5)))


@every_estimator
@every_model
def test_a_step_is_a_deterministic_function_that_leaves_its_inputs_to_the_optimiser(name, model):
    build = estimators.load(name)
    check_deterministic(build, model)
    check_not_mutated(build, model)
    check_no_global_randomness(build, model)


def test_hidden_randomness_and_mutation_are_noticed():
    def shaken(step, state, x, noise):
        return step(state, x, noise._replace(eps=torch.randn_like(noise.eps)))

    def counting():
        seen = []

        def step_differently(step, state, x, noise):
            seen.append(1)
            return step(state, x, noise._replace(eps=noise.eps * len(seen)))

        return wrapped(step_differently)

    def global_draw(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)

        def draw(generator, batch_size):
            return estimators.Noise(torch.randn(1, batch_size, model.n_latent))

        return inner._replace(draw=draw)

    def constant_draw(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)
        return inner._replace(draw=lambda g, batch_size: inner.draw(generator(0), batch_size))

    def spoils(pick):
        def around(step, state, x, noise):
            result = step(state, x, noise)
            pick(state, x, noise).add_(1)
            return result

        return wrapped(around)

    model = MODELS["bernoulli"]
    rejects(lambda build: check_deterministic(build, model), wrapped(shaken), counting())
    rejects(
        lambda build: check_no_global_randomness(build, model), wrapped(shaken), global_draw, constant_draw
    )
    rejects(
        lambda build: check_not_mutated(build, model),
        spoils(lambda state, x, noise: state.params.theta["w_h"]),
        spoils(lambda state, x, noise: state.optimiser.seen),
        spoils(lambda state, x, noise: x),
        spoils(lambda state, x, noise: noise.eps),
    )


def check_stacked_is_alone(build, model):
    """Three models with different weights, step sizes, data and noise, after four steps in double precision."""
    estimator = build(model, optimiser(), N)
    first, x = start(model, estimator), data()
    state, infos = first, []
    for n in range(4):
        state, info = estimator.step(state, x, noise_of(estimator, (n, n + 10, n + 20)))
        infos.append(info)
    for m, step in enumerate(STEPS):
        alone = build(model, optimiser([step]), N)
        one = trees.take(first, m)
        for n in range(4):
            one, info = alone.step(one, x[m : m + 1], noise_of(alone, (n + 10 * m,)))
            assert_close(trees.take(infos[n], m), info, rtol=1e-9, atol=1e-9)
        assert_close(trees.take(state, m), one, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("double")
@every_estimator
@every_model
def test_a_stacked_model_learns_what_it_learns_alone(name, model):
    check_stacked_is_alone(estimators.load(name), model)


@pytest.mark.usefixtures("double")
def test_a_mixture_of_the_models_of_a_stack_is_noticed():
    def averages(step, state, x, noise):
        new, info = step(state, x, noise)
        return with_params(new, lambda name, w: w + 1e-6 * (w.mean(0, keepdim=True) - w)), info

    def shares_noise(step, state, x, noise):
        return step(state, x, noise._replace(eps=noise.eps[:1].expand_as(noise.eps)))

    def mean_bound(step, state, x, noise):
        new, info = step(state, x, noise)
        return new, info._replace(bound=info.bound.mean().expand(len(x)))

    model = MODELS["bernoulli"]
    rejects(
        lambda build: check_stacked_is_alone(build, model),
        *map(wrapped, (averages, shares_noise, mean_bound)),
    )


def check_gradients(build, model):
    """All that an estimator hands to its optimiser is finite and, in every tensor of every model, not all zero;
    and one step with Adagrad moves every tensor."""
    given = []

    def record(state, params, grads, prior):
        given.append(trees.leaves(grads))
        return params, state

    shown = build(model, Optimiser(lambda params: torch.zeros(3), record), N)
    first = start(model, shown)
    shown.step(first, data(), noise_of(shown))
    assert {name for grads in given for name in grads} == set(trees.leaves(first.params))
    for name, grad in (item for grads in given for item in grads.items()):
        assert torch.isfinite(grad).all(), name
        assert (grad != 0).flatten(1).any(1).all(), name
    estimator = build(model, pure(adagrad(torch.tensor(STEPS), warm_up=0)), N)
    first = start(model, estimator)
    moved, _ = estimator.step(first, data(), noise_of(estimator))
    for name, w in trees.leaves(moved.params).items():
        assert (w != trees.leaves(first.params)[name]).flatten(1).any(1).all(), name


@every_estimator
@every_model
def test_every_parameter_gets_a_finite_gradient_and_moves(name, model):
    check_gradients(estimators.load(name), model)


def test_a_parameter_without_a_gradient_is_noticed():
    def handing_over(change):
        """AEVB whose optimiser is given changed gradients."""

        def build(model, optimiser, n_train):
            def ascend(state, params, grads, prior):
                named = {name: change(name, g) for name, g in trees.leaves(grads).items()}
                return optimiser.ascend(state, params, trees.rebuild(grads, named), prior)

            return aevb.build(model, Optimiser(optimiser.init, ascend), n_train)

        return build

    def frozen(step, state, x, noise):
        new, info = step(state, x, noise)
        old = trees.leaves(state.params)
        return with_params(new, lambda name, w: old[name] if name == "phi.w_out" else w), info

    last_model = torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1)
    model = MODELS["bernoulli"]
    rejects(
        lambda build: check_gradients(build, model),
        handing_over(lambda name, g: 0 * g if name == "theta.w_h" else g),
        handing_over(lambda name, g: g * last_model if name == "phi.w_out" else g),
        handing_over(lambda name, g: g * float("nan") if name == "phi.b_out" else g),
        wrapped(frozen),
    )


# ------------------------------------------------------------------------------------------------- learning

LEARNER = BernoulliModel(n_features=16, n_hidden=6, n_latent=1)
POINTS = (torch.rand(60, 16, generator=generator(2)) < torch.linspace(0.1, 0.9, 16)).to(torch.uint8)


def quality(params) -> torch.Tensor:
    """A judge that does not know the method: the evaluator's bound, or without an encoder the exact log p(x) by the
    trapezoid rule in the one latent dimension. Both in nats per point, (M,)."""
    if params.phi:
        return torch.stack(
            [
                mean_elbo(LEARNER, params, POINTS, 1.0, [generator(seed), generator(seed)])
                for seed in range(20)
            ]
        ).mean(0)
    nodes = torch.linspace(-8, 8, 401)
    z = nodes.reshape(1, -1, 1, 1).expand(2, -1, len(POINTS), 1)
    log_p = LEARNER.log_joint(params.theta, POINTS.float().expand(2, -1, -1), z)
    return (torch.logsumexp(log_p, 1) + torch.log(nodes[1] - nodes[0])).mean(1).double()


def check_learns(build):
    """200 steps from the small initial weights. A pixel's frequency alone, without z, is worth over 2 nats here."""
    estimator = build(LEARNER, pure(adagrad(torch.tensor([0.05, 0.1]))), len(POINTS))
    params = trees.stack([LEARNER.init(generator(seed)) for seed in (0, 1)])
    state, sources, x = estimator.init(params), [generator(3), generator(4)], POINTS.float().expand(2, -1, -1)
    before = quality(state.params)
    for _ in range(200):
        noise = trees.stack([estimator.draw(source, len(POINTS)) for source in sources])
        state, _ = estimator.step(state, x, noise)
    after = quality(state.params)
    assert (after > before + 1).all(), (before, after)


@every_estimator
def test_two_hundred_steps_improve_the_bound_of_an_evaluator_that_knows_no_method(name):
    check_learns(estimators.load(name))


def test_an_algorithm_that_does_not_learn_is_noticed():
    def descends(model, optimiser, n_train):
        return aevb.build(model, adagrad(torch.tensor([-0.05, -0.1])), n_train)

    def idles(step, state, x, noise):
        return state, step(state, x, noise)[1]

    def flatters(step, state, x, noise):  # its own report improves, its weights do not
        new, info = step(state, x, noise)
        return state._replace(optimiser=new.optimiser), info._replace(bound=info.bound + new.optimiser.seen)

    rejects(check_learns, descends, wrapped(idles), wrapped(flatters))
