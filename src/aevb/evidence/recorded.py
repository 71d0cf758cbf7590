"""A function of trees of tensors, recorded once on an example and replayed as a flat program."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from aevb.recording import record
from aevb.trees import leaves, rebuild

Tree = TypeVar("Tree")


def recorded(function: Callable[..., Tree], *examples: Any) -> Callable[..., Tree]:
    """`function` for arguments like `examples`: tensors or named tuples of them; it must draw nothing.

    Values on the way that nothing reads are not computed.
    """
    result = function(*examples)

    def flat(*tensors: Tensor) -> list[Tensor]:
        rest = list(tensors)
        arguments = [
            rebuild(example, {name: rest.pop(0) for name in leaves(example)}) for example in examples
        ]
        return list(leaves(function(*arguments)).values())

    program = record(flat, _tensors(*examples))

    def replay(*arguments: Any) -> Tree:
        return rebuild(result, dict(zip(leaves(result), program(*_tensors(*arguments)), strict=True)))

    return replay


def _tensors(*arguments: Any) -> list[Tensor]:
    return [tensor for argument in arguments for tensor in leaves(argument).values()]
