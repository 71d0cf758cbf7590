"""A step stays on its device and reads no value from it, as a captured block must; seen without a GPU.

Tensors on torch's device `meta` have shapes and no numbers: reading a value of one raises. A dispatch mode sees every
operation below autograd, and refuses a tensor of the CPU on the way in or out. What is not seen: a tensor that is
made from a Python number on the device itself, a kernel that waits for the host by its own, and the draws of a block.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aevb import estimators, provenance, trees
from aevb.estimators import aevb, mcem
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


class OnMetaAlone(TorchDispatchMode):
    """Refuses operations that take or give a tensor of another device."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            assert not isinstance(value, Tensor) or value.device == META, (
                f"{operation}: a tensor on {value.device}"
            )
        return result


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
    ours, given = build(model, optimiser, len(POINTS)), (on_meta(state), x.to(META), on_meta(noise))
    with OnMetaAlone():
        return ours.step(*given)


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


def sends_it_there(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.zeros(noise.eps.shape).to(x.device)))


def chooses_by_its_own(step, state, x, noise):
    return step(state, x[:, torch.arange(x.shape[1])], noise)


def multiplies_by_its_own(step, state, x, noise):
    return step(state, x @ torch.eye(x.shape[-1]), noise)


def answers_from_the_host(step, state, x, noise):
    state, info = step(state, x, noise)
    return state, info._replace(bound=torch.zeros(info.bound.shape))


@pytest.mark.parametrize(
    "around",
    [
        reads,
        looks,
        makes_its_own,
        sends_it_there,
        chooses_by_its_own,
        multiplies_by_its_own,
        answers_from_the_host,
    ],
)
def test_a_step_that_does_not_is_seen(around, monkeypatch, fused_adagrad):
    with pytest.raises((AssertionError, RuntimeError), match=r"meta|tensor on cpu"):
        stepped(wrapped(around), MODELS["bernoulli"], [0.1], monkeypatch)


def test_a_rate_on_the_host_is_seen(monkeypatch, fused_adagrad):
    def build(model, optimiser, n_train):
        return aevb.build(model, adagrad(torch.tensor([0.1]), warm_up=3), n_train)

    with pytest.raises((AssertionError, RuntimeError), match=r"meta|tensor on cpu"):
        stepped(build, MODELS["bernoulli"], [0.1], monkeypatch)


def test_monte_carlo_em_with_its_rows_on_the_host_is_seen(monkeypatch, fused_adagrad, tmp_path):
    text = Path(mcem.__file__).read_text()
    wrong = text.replace("torch.arange(n_train, device=x.device)", "torch.arange(n_train)")
    assert wrong != text
    (tmp_path / "mcem.py").write_text(wrong)
    build = estimators.load("mcem", str(tmp_path / "mcem.py"))
    with pytest.raises(AssertionError, match="tensor on cpu"):
        stepped(build, MODELS["bernoulli"], [0.1], monkeypatch)
