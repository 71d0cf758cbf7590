"""trees.py: named leaves, and stacks that come apart into what they were made of."""

from typing import NamedTuple

import torch
from torch import Tensor

from aevb import trees
from aevb.models import Params
from helpers import equal, randn


class State(NamedTuple):
    params: Params
    seen: Tensor


def state(seed: int) -> State:
    theta = {"w_h": randn(1, 2, 3, seed=seed), "b_h": randn(1, 1, 3, seed=seed + 1)}
    return State(Params(theta, {}), torch.full((1,), float(seed)))


def test_leaves_are_named_by_their_path_in_a_fixed_order():
    assert list(trees.leaves(state(0))) == ["params.theta.w_h", "params.theta.b_h", "seen"]


def test_rebuild_undoes_leaves_and_keeps_empty_branches_and_types():
    tree = state(0)
    again = trees.rebuild(state(1), trees.leaves(tree))
    assert equal(again, tree)
    assert isinstance(again, State)
    assert isinstance(again.params, Params)
    assert again.params.phi == {}


def test_concatenated_models_are_taken_apart_again():
    parts = [state(seed) for seed in range(3)]
    together = trees.concatenate(parts)
    assert together.params.theta["w_h"].shape == (3, 2, 3)
    assert all(equal(trees.take(together, m), parts[m]) for m in range(3))


def test_stack_adds_the_model_axis():
    together = trees.stack([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 4.0])}])
    assert together["a"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_taken_model_outlives_its_stack():
    together = trees.concatenate([state(0), state(1)])
    taken = trees.take(together, 1)
    for leaf in trees.leaves(together).values():
        leaf.zero_()
    assert equal(taken, state(1))


def test_a_copy_shares_no_memory():
    original = state(0)
    copied = trees.copy(original)
    assert isinstance(copied, State)
    for leaf in trees.leaves(original).values():
        leaf.fill_(7)
    assert equal(copied, state(0))


def test_moving_to_a_device_keeps_the_tree():
    assert equal(trees.to_device(state(0), torch.device("cpu")), state(0))
