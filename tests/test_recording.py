"""recording.py: a recorded step computes what the step computes, bit for bit; what cannot be recorded is refused."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from aevb import algorithms, estimators, trees
from aevb.models import BernoulliModel, GaussianModel
from aevb.optimisers import adagrad
from aevb.recording import record
from helpers import equal, generator, pure, randn, rejects, scramble

ROWS, N_TRAIN = 8, 20
MODELS = {"bernoulli": BernoulliModel(6, 5, 2), "gaussian": GaussianModel(6, 5, 2, -2.0)}
STACKS = {"alone": [0.1], "equal steps": [0.1, 0.1, 0.1], "different steps": [0.05, 0.1, 0.3]}
MINIBATCH = [
    name
    for name in algorithms.estimators()
    if not estimators.load(name)(MODELS["bernoulli"], adagrad(torch.ones(1)), N_TRAIN).full_batch
]


def flat_step(estimator, template):
    """The estimator's step from tensors to tensors: state, x and noise in, new state, bound and surrogate out."""
    named = trees.leaves(template)

    def step(*tensors):
        inputs = trees.rebuild(template, dict(zip(named, tensors, strict=True)))
        state, info = estimator.step(inputs["state"], inputs["x"], inputs["noise"])
        return [*trees.leaves(state).values(), *info]

    return step


def problem(name, model, steps, optimiser=adagrad):
    """A step, its start, and inputs for each of 12 steps of which the first two only warm up."""
    estimator = estimators.load(name)(model, optimiser(torch.tensor(steps), warm_up=2), N_TRAIN)
    seeds = range(len(steps))
    params = [scramble(trees.stack([model.init(generator(m))]), 0.7, m) for m in seeds]
    state = estimator.init(trees.concatenate(params))

    def given(n):
        x = torch.rand(len(steps), ROWS, 6, generator=generator(100 + n))
        noise = trees.stack([estimator.draw(generator(200 + n + 50 * m), ROWS) for m in seeds])
        return {"x": x, "noise": noise}

    step = flat_step(estimator, {"state": state} | given(0))
    return (
        step,
        list(trees.leaves(state).values()),
        [list(trees.leaves(given(n)).values()) for n in range(12)],
    )


def path(step, state, given):
    """All that a step returns, at each step; the state is left as it is."""
    state, seen = [w.clone() for w in state], []
    for tensors in given:
        outputs = step(*state, *tensors)
        seen.append({str(n): w.clone() for n, w in enumerate(outputs)})
        state = outputs[: len(state)]
    return {str(n): tensors for n, tensors in enumerate(seen)}


@pytest.mark.parametrize("steps", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("name", MINIBATCH)
def test_a_recorded_step_takes_the_same_path_bit_for_bit(name, model, steps):
    step, state, given = problem(name, model, steps)
    program = record(step, [*state, *given[0]])
    expected = path(step, state, given)

    def check(program):
        assert equal(path(program, state, given), expected)

    check(program)
    if len(steps) > 1:  # a program that was recorded with other step sizes
        check_other = problem(name, model, [1.01 * step for step in steps])[0]
        rejects(check, record(check_other, [*state, *given[0]]))


@pytest.mark.parametrize("name", MINIBATCH)
def test_with_an_optimiser_that_writes_nothing_in_place_too(name):
    step, state, given = problem(
        name, MODELS["gaussian"], [0.1, 0.2], lambda *args, **kwargs: pure(adagrad(*args, **kwargs))
    )
    program = record(step, [*state, *given[0]])
    assert equal(path(program, state, given), path(step, state, given))


def test_the_example_is_left_as_it_is():
    step, state, given = problem("aevb", MODELS["bernoulli"], [0.1, 0.2])
    example = [*state, *given[0]]
    before = [w.clone() for w in example]
    record(step, example)
    assert all(torch.equal(w, v) for w, v in zip(example, before, strict=True))


# ------------------------------------------------------------------------------------------------ operations

W, SCALE = randn(4, 3, seed=5), torch.tensor([2.0, 3.0, 4.0])


def through_autograd(function):
    def step(x):
        w = x.detach().requires_grad_()
        with torch.enable_grad():
            value = function(w)
        return [value.detach(), *torch.autograd.grad(value.sum(), w)]

    return step


def two_rows_in_place(x):
    x[1].mul_(2.0)
    x[:, :2].add_(1.0)
    return [x]


def base_of_a_view_in_place(x):
    y = x + 0
    row = y[0]
    y.mul_(3.0)
    return [row + 1]


def assigned(x):
    y = x.clone()
    y[0] = 7.0
    y[1, :2] = x[2, :2]
    y[torch.tensor([3, 0])] = x[:2]
    return [y]


OPERATIONS = {
    "chunk": lambda x: [torch.cat(x.chunk(2)[::-1]) * 2],
    "unbind": lambda x: list(x.unbind()),
    "split": lambda x: [part.exp() for part in x.split([1, 3])],
    "max with its place": lambda x: list(x.max(1)),
    "sort": lambda x: list(x.sort(0)),
    "views": lambda x: [x.T, x[1:], x.reshape(-1), x.unsqueeze(0).expand(2, -1, -1)],
    "the same twice": lambda x: [x, x, x + 0],
    "rows by index": lambda x: [x[torch.tensor([2, 0, 0])], x[:, torch.tensor([1, 1])]],
    "where": lambda x: [torch.where(x > 0, x, 0.0)],
    "norms": lambda x: [x.norm(dim=1), x.std(0), x.logsumexp(0)],
    "added and subtracted in parts": lambda x: [torch.add(x, x * 2, alpha=3), torch.sub(x * 2, x, alpha=2)],
    "doubles": lambda x: [x.double().exp(), (x > 0).to(torch.int64)],
    "made inside": lambda x: [x * torch.tensor(0.5) + torch.arange(3) + torch.zeros(3)],
    "made outside": lambda x: [x * SCALE + W, SCALE * 1],
    "in place": lambda x: [x.mul_(0.5).add_(1)],
    "in place on views": two_rows_in_place,
    "in place below a view": base_of_a_view_in_place,
    "assignment": assigned,
    "empty": lambda x: [x[:0] * 2, torch.zeros(0, 3), x],
    "gradient of a network": through_autograd(lambda x: functional.softplus(torch.tanh(x @ W.T)).mean(1)),
    "gradient of a layer norm": through_autograd(lambda x: functional.layer_norm(x, (3,)).pow(3)),
    "gradient of rows": through_autograd(lambda x: x[torch.tensor([0, 0, 1])].square()),
}


@pytest.mark.parametrize("step", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_operations_replay_on_other_numbers(step):
    program = record(step, [randn(4, 3, seed=1)])
    for seed in (2, 3):
        ours, theirs = randn(4, 3, seed=seed), randn(4, 3, seed=seed)
        outputs, expected = program(ours), step(theirs)
        assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
        assert torch.equal(ours, theirs), "what the step writes into its inputs, the program writes too"


def test_empty_inputs_are_told_apart_from_full_ones():
    step = lambda a, b, x: [b, a, torch.cat([a, x]), torch.cat([x, b])]  # noqa: E731
    inputs = [torch.zeros(0, 3), torch.zeros(0, 3), randn(4, 3)]
    outputs = record(step, inputs)(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(outputs, step(*inputs), strict=True))


def test_what_nothing_depends_on_is_left_out_and_an_update_in_place_is_not():
    total = torch.zeros(3)

    def step(x):
        _ = torch.linalg.qr(x)
        x[0].zero_()
        return [x.sum(0) + 0 * total]

    program = record(step, [randn(4, 3)])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        program(randn(4, 3))
    called = {event.key for event in profile.key_averages()}
    assert not any("qr" in name for name in called)
    assert "aten::zero_" in called


# -------------------------------------------------------------------------------------------------- refusals


def counting():
    calls = []

    def step(x):
        calls.append(1)
        return [x * len(calls)]

    return step


def counting_in_a_tensor():
    calls = torch.zeros(())
    return lambda x: [x * calls.add_(1)]


REFUSED = {
    "draws": lambda x: [x + torch.randn(4, 3)],
    "draws from a generator": lambda x: [x + torch.randn(4, 3, generator=generator())],
    "draws and is seeded": lambda x: [x + torch.randn(4, 3, generator=torch.manual_seed(0))],
    "drops out": lambda x: [functional.dropout(x)],
    "counts calls": counting(),
    "counts calls in a tensor": counting_in_a_tensor(),
    "reads a value": lambda x: [x * x.sum().item()],
    "branches on a value": lambda x: [x if x.sum() > 0 else -x],
}


@pytest.mark.parametrize("step", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_fixed_sequence_of_operations_is_refused(step):
    with pytest.raises((ValueError, RuntimeError)):
        record(step, [randn(4, 3)])


def test_no_compiler_is_imported():
    """It would take a second of every job."""
    code = (
        "import sys, torch\n"
        "from aevb.recording import record\n"
        "record(lambda x: [x.mul_(2) + 1], [torch.ones(3)])(torch.ones(3))\n"
        "sys.exit(any(name in sys.modules for name in ('torch._dynamo', 'torch._inductor')))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
