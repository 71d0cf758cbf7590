"""engine.py: however a block is run, it trains what the step as it is written trains; on a GPU up to rounding."""

import pytest
import torch
from safetensors.torch import save

from aevb import UserError, algorithms, engine, estimators, trees
from aevb.engine import Captured, Engine, Minibatches, Recorded
from aevb.estimators import aevb, gradient
from aevb.models import BernoulliModel, GaussianModel
from aevb.optimisers import adagrad
from helpers import CPU, CUDA, assert_close, equal, generator, rejects, scramble

MODELS = {"bernoulli": BernoulliModel(6, 4, 2), "gaussian": GaussianModel(6, 4, 2, -2.0)}
POINTS = torch.randint(256, (40, 6), generator=generator(0)) / 256
ROWS, BLOCK = 8, 5
STACKS = {"alone": [0.1], "different steps": [0.02, 0.05, 0.1], "equal steps": [0.05, 0.05, 0.05]}

every_estimator = pytest.mark.parametrize("name", algorithms.estimators())
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
every_stack = pytest.mark.parametrize("steps", STACKS.values(), ids=STACKS.keys())


def started(build, model, steps, device=CPU):
    """The estimator and the state of models with weights of order one."""
    estimator = build(model, adagrad(torch.tensor(steps, device=device), warm_up=3), len(POINTS))
    params = [scramble(trees.stack([model.init(generator(m))]), 0.5, m) for m in range(len(steps))]
    return estimator, estimator.init(trees.to_device(trees.concatenate(params), device))


def engine_of(kind, build, model, steps, device=CPU, seeds=(7, 8, 9)) -> Engine:
    estimator, state = started(build, model, steps, device)
    rows = len(POINTS) if estimator.full_batch else ROWS
    batches = Minibatches(estimator, POINTS.to(device), rows)
    return kind(batches, state, list(seeds[: len(steps)]), BLOCK)


def history(engine, blocks):
    """What each block says and leaves behind."""
    seen = {}
    for block in blocks:
        info = trees.copy(engine.train_block(block))
        seen[str(block)] = {"info": info, "state": trees.copy(engine.state)}
    return seen


# ----------------------------------------------------------------------------------------------- on any device


@every_model
@every_stack
@every_estimator
def test_recorded_blocks_are_those_of_the_step_bit_for_bit(name, model, steps):
    build = estimators.load(name)
    expected = history(engine_of(Engine, build, model, steps), range(3))

    def check(kind):
        assert equal(history(engine_of(kind, build, model, steps), range(3)), expected)

    class OtherNoise(Recorded):
        def _draw(self):
            x, noise = super()._draw()
            return x, trees.rebuild(noise, {n: 0.999 * w for n, w in trees.leaves(noise).items()})

    class OneStepTooFew(Recorded):
        def _steps(self):
            self.block_steps = BLOCK - 1
            return super()._steps()

    class FirstBlockAgain(Recorded):
        def train_block(self, block):
            return super().train_block(0)

    check(Recorded)
    rejects(check, OtherNoise, OneStepTooFew, FirstBlockAgain)


def test_the_engine_is_chosen_by_device_and_batch():
    def chosen(name):
        return type(engine_of(engine.build, estimators.load(name), MODELS["bernoulli"], [0.1]))

    assert (chosen("aevb"), chosen("wake_sleep"), chosen("mcem")) == (Recorded, Recorded, Engine)


KINDS = pytest.mark.parametrize(
    ("kind", "device"),
    [(Engine, CPU), (Recorded, CPU), pytest.param(Captured, *CUDA.values, marks=CUDA.marks)],
)


@KINDS
@every_estimator
def test_an_engine_that_goes_on_from_a_state_ends_where_the_uninterrupted_one_does(name, kind, device):
    def make():
        return engine_of(kind, estimators.load(name), MODELS["gaussian"], [0.02, 0.1], device)

    whole, first, second = make(), make(), make()
    expected = history(whole, range(4))
    history(first, range(2))
    stacked = trees.concatenate([trees.take(first.state, m) for m in range(2)])
    second = kind(second.batches, stacked, second.seeds, BLOCK)

    def check(blocks):
        assert equal(history(second, blocks), {str(block): expected[str(block)] for block in blocks})

    check([2, 3])
    rejects(check, [3])  # a block too early


@KINDS
@every_estimator
def test_the_state_between_blocks_is_ordinary_to_those_who_use_it(name, kind, device):
    """The runner cuts it up, saves it, evaluates it and differentiates it, outside of whatever mode made it."""
    model = MODELS["bernoulli"]
    running = engine_of(kind, estimators.load(name), model, [0.02, 0.1], device)
    reference = history(engine_of(kind, estimators.load(name), model, [0.02, 0.1], device), range(2))
    running.train_block(0)
    one = trees.take(running.state, 1)
    save({name: w.contiguous() for name, w in trees.leaves(one).items()})
    z = torch.ones(1, 1, len(POINTS), 2, device=device)
    x = POINTS.to(device).unsqueeze(0)

    def log_joint(params):
        """And the square of every weight, since not every method's are all the decoder's."""
        stacked = params.theta["w_h"].shape[0]
        value = model.log_joint(params.theta, x.expand(stacked, -1, -1), z.expand(stacked, -1, -1, -1))
        return value.sum((1, 2)) + sum(w.square().sum((1, 2)) for w in trees.leaves(params).values())

    for params in (one.params, running.state.params):
        _, grads = gradient(log_joint, params._replace(phi={}))
        assert all((g != 0).any() for g in trees.leaves(grads).values())
    for w in trees.leaves(one).values():
        w.add_(1)
    assert equal(history(running, [1])["1"], reference["1"]), "what was taken is a copy"


# --------------------------------------------------------------------------------------------------- streams


def seen_by(blocks, seeds=(7, 8)):
    """What the steps of each of these blocks are given."""
    given = []

    def build(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)

        def step(state, x, noise):
            given.append({"x": x.clone(), "eps": noise.eps.clone()})
            return inner.step(state, x, noise)

        return inner._replace(step=step)

    running = engine_of(Engine, build, MODELS["bernoulli"], [0.1, 0.1], seeds=seeds)
    for block in blocks:
        running.train_block(block)
    return [
        trees.stack([trees.rebuild(one, trees.leaves(one)) for one in given[i : i + BLOCK]])
        for i in range(0, len(given), BLOCK)
    ]


def test_what_a_block_sees_depends_on_its_number_and_not_on_those_before_it():
    zero, one, two = seen_by([0, 1, 2])
    assert equal(seen_by([2])[0], two)
    for other in (zero, one, seen_by([2], seeds=(3, 4))[0]):
        assert not torch.equal(other["x"], two["x"])
        assert not torch.equal(other["eps"], two["eps"])
    assert not torch.equal(two["x"][0], two["x"][1]), "each step has a minibatch of its own"


# -------------------------------------------------------------------------------------------------- refusals


def wrapped(around):
    """AEVB with another step: around(inner step, state, x, noise)."""

    def build(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)
        return inner._replace(step=lambda state, x, noise: around(inner.step, state, x, noise))

    return build


def draws(step, state, x, noise):
    return step(state, x, noise._replace(eps=torch.randn_like(noise.eps)))


def looks(step, state, x, noise):
    return step(state, x if x.mean() < 0.5 else 1 - x, noise)


def reads(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps * x.mean().item()))


def counts():
    calls = []

    def around(step, state, x, noise):
        calls.append(1)
        return step(state, x, noise._replace(eps=noise.eps * len(calls)))

    return around


@pytest.mark.parametrize("around", [draws, looks, reads, counts()], ids=["draws", "looks", "reads", "counts"])
def test_a_step_that_cannot_be_recorded_is_reported_to_its_author(around):
    with pytest.raises(UserError, match=r"cannot be recorded.*estimators/__init__"):
        engine_of(Recorded, wrapped(around), MODELS["bernoulli"], [0.1])


# ------------------------------------------------------------------------------------------------- precision

# Single precision costs up to 2e-6 of the distance travelled (CPU, against double); products in half precision, which
# a GPU may use unasked, cost 8e-5 and more. The bound lies between.
ROUNDING = 1e-5


def travelled(name, model, device=CPU, dtype=torch.float32, change=lambda g: g, steps=None):
    """Weights at the start and after 50 steps whose minibatches and noise come from the CPU in single precision.

    Of MCEM only 5 (25 updates): rounding moves its chains apart by a factor of some ten a step from then on.
    """
    rates = torch.tensor(steps or STACKS["different steps"], device=device)
    optimiser = adagrad(rates, warm_up=3)

    def ascend(state, params, grads, prior):
        named = {name: change(g) for name, g in trees.leaves(grads).items()}
        return optimiser.ascend(state, params, trees.rebuild(grads, named), prior)

    def moved(tree):
        return trees.rebuild(tree, {n: w.to(device, dtype) for n, w in trees.leaves(tree).items()})

    estimator = estimators.load(name)(model, optimiser._replace(ascend=ascend), len(POINTS))
    params = [scramble(trees.stack([model.init(generator(m))]), 0.5, m) for m in range(len(rates))]
    state = estimator.init(moved(trees.concatenate(params)))
    start = trees.copy(state.params)
    for n in range(5 if estimator.full_batch else 50):
        rows = torch.arange(len(POINTS))
        if not estimator.full_batch:
            rows = torch.randint(len(POINTS), (ROWS,), generator=generator(n))
        x = POINTS[rows].expand(len(rates), -1, -1)
        noise = [estimator.draw(generator(100 + 3 * n + m), len(rows)) for m in range(len(rates))]
        state, _ = estimator.step(state, moved({"x": x})["x"], moved(trees.stack(noise)))
    return trees.leaves(start), trees.leaves(state.params)


def assert_same_way(one, reference):
    """Every tensor of weights ends where that of the reference does, in units of the way it has gone."""
    for name, start in reference[0].items():
        way = (reference[1][name] - start).double()
        gap = one[1][name].double().cpu() - reference[1][name].double()
        assert (gap.norm() < ROUNDING * way.norm()).item(), (name, (gap.norm() / way.norm()).item())


@every_model
@every_estimator
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_single_precision_on_any_device_is_double_precision_up_to_rounding(name, model, device):
    reference = travelled(name, model, dtype=torch.float64)

    def check(**changes):
        assert_same_way(travelled(name, model, device, **changes), reference)

    check()
    rejects(
        lambda changes: check(**changes),
        {"change": lambda g: g.half().float()},
        {"change": lambda g: 1.001 * g + 1e-3},
        {"steps": [0.02, 0.05, 0.1001]},
    )


@every_model
@every_stack
@every_estimator
@pytest.mark.parametrize("device", [CUDA])
def test_a_captured_graph_trains_what_the_step_trains(name, model, steps, device):
    """Draws included: a graph's generators give at a replay what they give a step."""
    build = estimators.load(name)
    expected = history(engine_of(Engine, build, model, steps, device), range(3))

    def check(seeds):
        actual = history(engine_of(Captured, build, model, steps, device, seeds), range(3))
        assert_close(actual, expected, rtol=1e-3, atol=1e-4)

    check((7, 8, 9))
    rejects(check, (7, 8, 1)[-len(steps) :])
