"""A step stays on its device and asks it for no value, which a captured block must not; seen without a GPU.

Tensors on torch's device `meta` have shapes and no numbers. Whatever reads a value of one, and most of what joins it
with a tensor of the CPU, raises: on a GPU the one would end a capture, and the other would be an error too.
"""

import pytest
import torch

from aevb import estimators, provenance, trees
from aevb.estimators import aevb
from aevb.optimisers import adagrad
from helpers import generator
from test_engine import MODELS, POINTS, ROWS, STACKS, started, wrapped

META = torch.device("meta")


def on_meta(tree):
    """The tree's tensors without their numbers, laid out as they are."""
    empty = {name: w.to(META) for name, w in trees.leaves(tree).items()}
    return trees.rebuild(tree, empty)


def devices(tree):
    return {w.device.type for w in trees.leaves(tree).values()}


@pytest.fixture
def fused_adagrad(monkeypatch):
    """torch's kernel has no form for `meta`: here it sees that all it is given lies there."""
    seen = []

    def kernel(params, grads, sums, steps, *, lr, **options):
        assert {w.device.type for w in [*params, *grads, *sums, *steps, lr]} == {"meta"}
        seen.append(len(params))

    monkeypatch.setattr(torch, "_fused_adagrad_", kernel)
    return seen


def stepped(build, model, rates, monkeypatch):
    """The state and what is said after one step of a stack on `meta`."""
    estimator, state = started(build, model, rates)  # on the CPU, for its shapes and noise
    rows = len(POINTS) if estimator.full_batch else ROWS
    noise = trees.stack([estimator.draw(generator(m), rows) for m in range(len(rates))])
    x = POINTS[:rows].expand(len(rates), -1, -1)
    with monkeypatch.context() as patch:  # an optimiser looks at its step sizes once, when it is made
        patch.setattr(torch.Tensor, "unique", lambda tensor: sorted(set(rates)))
        optimiser = adagrad(torch.tensor(rates, device=META), warm_up=3)
    return build(model, optimiser, len(POINTS)).step(on_meta(state), x.to(META), on_meta(noise))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("rates", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("name", provenance.estimators())
def test_a_step_stays_on_its_device_and_reads_nothing(name, model, rates, monkeypatch, fused_adagrad):
    state, info = stepped(estimators.load(name), model, rates, monkeypatch)
    assert devices(state) == devices(info) == {"meta"}
    assert fused_adagrad


def reads(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps * x.mean().item()))


def looks(step, state, x, noise):
    return step(state, x if x.mean() < 0.5 else 1 - x, noise)


def makes_its_own(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.zeros(noise.eps.shape)))


def answers_from_the_host(step, state, x, noise):
    state, info = step(state, x, noise)
    return state, info._replace(bound=torch.zeros(info.bound.shape))


@pytest.mark.parametrize("around", [reads, looks, makes_its_own])
def test_a_step_that_does_not_is_seen(around, monkeypatch, fused_adagrad):
    with pytest.raises(RuntimeError, match="meta"):
        stepped(wrapped(around), MODELS["bernoulli"], [0.1], monkeypatch)


def test_an_answer_from_the_host_and_a_rate_there_are_seen(monkeypatch, fused_adagrad):
    _, info = stepped(wrapped(answers_from_the_host), MODELS["bernoulli"], [0.1], monkeypatch)
    assert devices(info) == {"meta", "cpu"}

    def build(model, optimiser, n_train):
        return aevb.build(model, adagrad(torch.tensor([0.1]), warm_up=3), n_train)

    with pytest.raises((AssertionError, RuntimeError)):
        stepped(build, MODELS["bernoulli"], [0.1], monkeypatch)
