"""optimisers.py: Adagrad as in the authors' code, against the recursion written out and against torch's."""

import math

import pytest
import torch

from aevb import trees
from aevb.models import Params
from aevb.optimisers import Optimiser, adagrad
from helpers import assert_close, equal, log_prior, pure, randn, rejects, with_prior

pytestmark = pytest.mark.usefixtures("double")


def gradients(n: int, n_models: int = 2) -> list[Params]:
    def one(seed: int) -> Params:
        theta = {"w_h": randn(n_models, 3, 2, seed=seed), "b_h": randn(n_models, 1, 2, seed=seed + 1)}
        return Params(theta, {"w_mu": randn(n_models, 2, 1, seed=seed + 2)})

    return [one(3 * i) for i in range(n)]


def run(optimiser, params: Params, grads: list[Params], prior: float = 0.0) -> list[Params]:
    """The weights at the start and after each gradient; what is given stays as it is."""
    optimiser = pure(optimiser)
    state, path = optimiser.init(params), [params]
    for grad in grads:
        params, state = optimiser.ascend(state, params, grad, prior)
        path.append(params)
    return path


def check_recursion(make):
    """w += step * g / sqrt(1e-8 + sum g^2), a scalar at a time in Python; the first gradient moves the weight."""
    grads = [0.3, -1.2, 1e-5, 4.0, -0.7]
    w, total, expected = 0.5, 1e-8, []
    for g in grads:
        total += g * g
        w += 0.1 * g / math.sqrt(total)
        expected.append(w)

    def scalar(value: float) -> Params:
        return Params({"w_h": torch.full((1, 1, 1), value)}, {})

    path = run(make(torch.tensor([0.1]), warm_up=0), scalar(0.5), [scalar(g) for g in grads])
    actual = [params.theta["w_h"].item() for params in path[1:]]
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_adagrad_follows_the_written_out_recursion():
    check_recursion(adagrad)
    rejects(
        check_recursion,
        lambda step, warm_up: adagrad(-step, warm_up),  # descends
        lambda step, warm_up: adagrad(step, warm_up, eps=1e-6),
        lambda step, warm_up: adagrad(step, warm_up + 1),
    )


def check_against_torch(make):
    """After the warm-up, and with eps inside the root on both sides, torch.optim.Adagrad takes the same path."""
    grads = gradients(40)
    start = gradients(1)[0]
    ours = run(make(torch.full((2,), 0.05), warm_up=15), start, grads)[-1]
    theirs = {name: w.clone().requires_grad_() for name, w in trees.leaves(start).items()}
    optimiser = torch.optim.Adagrad(
        theirs.values(), lr=0.0, initial_accumulator_value=1e-8, eps=0, maximize=True
    )
    for n, grad in enumerate(grads):
        optimiser.param_groups[0]["lr"] = 0.05 if n >= 15 else 0.0
        for name, w in theirs.items():
            w.grad = trees.leaves(grad)[name].clone()
        optimiser.step()
    detached = {name: w.detach() for name, w in theirs.items()}
    assert_close(ours, trees.rebuild(start, detached), 1e-12, 1e-12)


def test_adagrad_after_its_warm_up_is_that_of_torch():
    check_against_torch(adagrad)
    rejects(
        check_against_torch,
        lambda step, warm_up: adagrad(step, warm_up - 1),
        lambda step, warm_up: adagrad(step, warm_up + 1),
        lambda step, warm_up: adagrad(1.01 * step, warm_up),
    )


def check_warm_up(optimiser):
    path = run(optimiser, gradients(1)[0], gradients(101))
    assert all(equal(path[n], path[0]) for n in range(101))
    moved = zip(trees.leaves(path[101]).values(), trees.leaves(path[0]).values(), strict=True)
    assert all((a != b).all() for a, b in moved)


def test_warm_up_moves_nothing_for_exactly_100_gradients_by_default():
    step = torch.tensor([0.1, 0.2])
    check_warm_up(adagrad(step))
    rejects(check_warm_up, adagrad(step, 99), adagrad(step, 101), adagrad(step, 0))


def test_every_model_of_a_stack_has_its_own_step_size():
    start, grads = gradients(1)[0], gradients(5)
    together = run(adagrad(torch.tensor([0.1, 0.7]), warm_up=2), start, grads)[-1]
    for m, step in enumerate([0.1, 0.7]):
        alone = run(
            adagrad(torch.tensor([step]), warm_up=2), trees.take(start, m), [trees.take(g, m) for g in grads]
        )[-1]
        assert equal(trees.take(together, m), alone)


def check_prior(make):
    """Ten steps up objective + 0.1 log N(w; 0, I), for models of different and of equal step sizes."""
    start, grads = gradients(1, 3)[0], gradients(10, 3)
    for steps in (torch.tensor([0.1, 0.7, 0.1]), torch.full((3,), 0.3)):
        actual = run(make(steps, warm_up=3), start, grads, prior=0.1)[-1]
        rate, w = steps.reshape(-1, 1, 1), trees.leaves(start)
        total = {name: torch.full_like(value, 1e-8) for name, value in w.items()}
        for n, grad in enumerate(grads):
            of_prior = trees.leaves(gradient_of_log_prior(trees.rebuild(start, w)))
            for name, g in trees.leaves(grad).items():
                ascended = g + 0.1 * of_prior[name]
                total[name] = total[name] + ascended.square()
                w[name] = w[name] + (n >= 3) * rate * ascended / total[name].sqrt()
        assert_close(actual, trees.rebuild(start, w), 1e-12, 1e-14)


def gradient_of_log_prior(params: Params) -> Params:
    named = {name: w.clone().requires_grad_() for name, w in trees.leaves(params).items()}
    value = log_prior(trees.rebuild(params, named))
    grads = torch.autograd.grad(value, list(named.values()), allow_unused=True, materialize_grads=True)
    return trees.rebuild(params, dict(zip(named, grads, strict=True)))


def test_the_prior_pulls_the_weights_and_not_the_biases():
    def on_biases_too(step, warm_up):
        inner = adagrad(step, warm_up)

        def ascend(state, params, grads, prior):
            named = {n: g - prior * trees.leaves(params)[n] for n, g in trees.leaves(grads).items()}
            return inner.ascend(state, params, trees.rebuild(grads, named), 0.0)

        return Optimiser(inner.init, ascend)

    check_prior(adagrad)
    rejects(
        check_prior,
        lambda step, warm_up: with_prior(adagrad(step, warm_up), lambda prior: 0.0),
        lambda step, warm_up: with_prior(adagrad(step, warm_up), lambda prior: 1.0),  # not scaled by M/N
        lambda step, warm_up: with_prior(adagrad(step, warm_up), lambda prior: -prior),
        on_biases_too,
    )


@pytest.mark.parametrize("steps", [[0.1, 0.7], [0.3, 0.3]])
def test_gradients_may_lie_in_memory_as_autograd_left_them(steps):
    """A transposed gradient, and one that autograd expanded from a single number, are what they read as."""
    start, compact = gradients(1)[0], gradients(1)[0]
    compact.theta["b_h"] = torch.full((2, 1, 2), 1.5)
    theta = {
        "w_h": compact.theta["w_h"].mT.contiguous().mT,
        "b_h": torch.tensor(1.5).expand(2, 1, 2),
    }
    optimiser, states = adagrad(torch.tensor(steps), warm_up=0), []
    for grads in (compact, Params(theta, compact.phi)):
        given = trees.copy(start)
        states.append(optimiser.ascend(optimiser.init(given), given, grads, 0.1))
    assert equal(states[0][0], states[1][0])
    assert equal(states[0][1], states[1][1])
