"""Nested named tuples and dictionaries of tensors: name their leaves, take them apart along the model axis.

Every tensor of an estimator's state has the model axis M first, so one seed's state can be cut out of a stack,
written to disk by itself, and stacked again with other seeds.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor

Tree = TypeVar("Tree")


def leaves(tree: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of the tree under its dotted path, in a fixed order."""
    if isinstance(tree, Tensor):
        return {prefix: tree}
    items = tree._asdict() if hasattr(tree, "_asdict") else tree
    named: dict[str, Tensor] = {}
    for key, child in items.items():
        named |= leaves(child, f"{prefix}.{key}" if prefix else key)
    return named


def rebuild(template: Tree, named: dict[str, Tensor], prefix: str = "") -> Tree:
    """A tree of the template's shape whose leaves are taken from `named`; inverse of `leaves`."""
    if isinstance(template, Tensor):
        return named[prefix]  # type: ignore[return-value]

    def child(key: str, value: Any) -> Any:
        return rebuild(value, named, f"{prefix}.{key}" if prefix else key)

    if hasattr(template, "_asdict"):
        return type(template)(**{key: child(key, value) for key, value in template._asdict().items()})
    return {key: child(key, value) for key, value in template.items()}  # type: ignore


def stack(trees: list[Tree]) -> Tree:
    """Stack trees of single models, each without a model axis, along a new first axis M."""
    return _join(trees, torch.stack)


def concatenate(trees: list[Tree]) -> Tree:
    """Join trees that already have the model axis."""
    return _join(trees, torch.cat)


def _join(trees: list[Tree], join: Any) -> Tree:
    named = [leaves(tree) for tree in trees]
    return rebuild(trees[0], {name: join([one[name] for one in named]) for name in named[0]})


def take(tree: Tree, m: int) -> Tree:
    """Model m of a stack, with a model axis of length one, copied so that it outlives the stack."""
    return rebuild(tree, {name: value[m : m + 1].clone() for name, value in leaves(tree).items()})


def copy(tree: Tree) -> Tree:
    return rebuild(tree, {name: value.clone() for name, value in leaves(tree).items()})


def to_device(tree: Tree, device: torch.device) -> Tree:
    return rebuild(tree, {name: value.to(device) for name, value in leaves(tree).items()})


def equal(a: Any, b: Any) -> bool:
    """Whether two trees have the same leaves, bit for bit; NaN equals NaN."""
    first, second = leaves(a), leaves(b)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and torch.equal(first[name].nan_to_num(nan=12345.0), second[name].nan_to_num(nan=12345.0))
        for name in first
    )
