"""evidence/recorded.py: a recorded function of trees gives the function's bits for whatever else it is given."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from aevb import hmc, trees
from aevb.evidence import mixture, posterior
from aevb.evidence.recorded import recorded
from helpers import equal, generator, randn, rejects

pytestmark = pytest.mark.usefixtures("double")


class Inner(NamedTuple):
    a: Tensor
    b: Tensor


class Outer(NamedTuple):
    inner: Inner
    c: Tensor


class Result(NamedTuple):
    outer: Outer
    chosen: Tensor


def function(outer: Outer, plain: Tensor) -> Result:
    """A gradient, a choice by value, a matrix product; `lost` is read by nobody."""
    with torch.enable_grad():
        a = outer.inner.a.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(torch.tanh(a @ outer.inner.b).pow(3).sum(), a)
    lost = torch.linalg.inv(outer.inner.b)
    del lost
    chosen = gradient > plain
    inner = Inner(torch.where(chosen, a.detach(), gradient), outer.inner.b.T.exp())
    return Result(Outer(inner, outer.c + plain.mean()), chosen)


def arguments(seed):
    a, b, c, plain = randn(4, 3, 3, seed=seed).double()
    return Outer(Inner(a, b), c), plain


def test_other_arguments_give_the_functions_own_bits():
    replay = recorded(function, *arguments(0))

    def check(replay):
        for seed in range(5):
            expected, result = function(*arguments(seed)), replay(*arguments(seed))
            assert isinstance(result.outer.inner, Inner)
            assert equal(result, expected)

    check(replay)
    example = function(*arguments(0))
    rejects(
        check,
        lambda outer, plain: example,  # what the example gave, for ever
        lambda outer, plain: replay(outer._replace(inner=Inner(outer.inner.b, outer.inner.a)), plain),
        lambda outer, plain: replay(outer, outer.c),
        lambda outer, plain: (r := replay(outer, plain))._replace(
            outer=r.outer._replace(c=r.outer.c + 1e-15)
        ),
    )


def test_a_single_tensor_is_a_tree_too():
    replay = recorded(lambda a, b: a * b.exp(), randn(3, seed=1), randn(3, seed=2))
    a, b = randn(3, seed=3), randn(3, seed=4)
    assert torch.equal(replay(a, b), a * b.exp())


def test_nothing_that_is_given_is_changed():
    example, later = arguments(1), arguments(2)
    recorded(function, *example)(*later)
    for given, seed in ((example, 1), (later, 2)):
        assert all(equal(mine, fresh) for mine, fresh in zip(given, arguments(seed), strict=True))


def target(z):
    return -z.pow(4).sum(-1) - (z - 0.5).square().sum(-1)


def test_a_recorded_jump_and_transition_move_the_chains_as_they_do_themselves():
    """2 models, 3 chains, 20 points: the same bits along the whole path, refusals included."""
    proposal = mixture.fit(randn(50, 2, 20, 2, seed=5), 2, [generator(m) for m in range(2)])

    def move(point, noise, step_size):
        point, jumped = posterior.jump(target, point, proposal, noise)
        moved = posterior.Moved(*hmc.transition(target, point, noise.hmc, step_size * noise.jitter, 4))
        return {"moved": moved, "jumped": jumped}

    def draw(seed):
        return trees.stack([posterior.draw_noise(generator(seed + m), (3, 20, 2)) for m in range(2)])

    one = other = hmc.at(target, randn(2, 3, 20, 2, seed=6).double())
    replay = recorded(move, one, draw(0), torch.full((2, 3, 20), 0.1))
    stayed, jumped, source = 0, 0, generator(7)
    for step in range(1, 6):
        before = one.z
        arguments = draw(10 * step), 0.1 + 0.6 * torch.rand(2, 3, 20, generator=source)
        expected, moved = move(one, *arguments), replay(other, *arguments)
        assert equal(moved, expected)
        one, other = expected["moved"].point, moved["moved"].point
        stayed += (one.z == before).all(-1).sum().item()
        jumped += expected["jumped"].sum().item()
    assert 0 < stayed < 5 * 120, "both outcomes must occur"
    assert 0 < jumped < 5 * 120


def test_a_function_that_draws_is_refused():
    with pytest.raises(ValueError, match="it draws random numbers"):
        recorded(lambda z: z + torch.randn(3), randn(3))


def test_a_function_that_reads_a_value_is_refused():
    with pytest.raises(ValueError, match="it reads a tensor's value"):
        recorded(lambda z: z if z.sum() > 0 else -z, randn(3))


def test_a_function_that_remembers_is_refused():
    calls = []

    def remembering(z):
        calls.append(z)
        return z * len(calls)

    with pytest.raises(ValueError, match="another result"):
        recorded(remembering, randn(3))
