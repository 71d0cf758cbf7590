"""Where numbers stop being numbers: which models of a stack, at which step, in which tensor.

A block of steps is watched as a whole, by its bounds and by the weights that it leaves. Only when a model is lost in
it is the block run once more, from a copy of the state before it, one step at a time.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import trees
from aevb.engine import Engine, Minibatches
from aevb.estimators import Info
from aevb.models import Params


class Fault(NamedTuple):
    """The first tensor of a run that was not finite."""

    step: int  # counted from the run's first, 1
    tensor: str  # data x; noise.*; bound; surrogate; then the new state: params.theta.*, params.phi.*, ...


def finite(params: Params, bound: Tensor | None) -> list[bool]:
    """Of each of M models: whether its weights, and its bound (M,) where the method has one, are finite."""
    watched = [*trees.leaves(params).values(), *([] if bound is None else [bound])]
    return torch.stack([_finite(tensor) for tensor in watched]).all(0).tolist()


def locate(
    batches: Minibatches, state: Any, seeds: list[int], block_steps: int, block: int, has_bound: bool
) -> list[Fault | None]:
    """The fault of each of M models in that block, None where none is found.

    state: before the block; it is consumed.
    """
    engine = Engine(batches, state, seeds, block_steps)
    engine.restart(block)
    faults: list[Fault | None] = [None] * len(seeds)
    for n in range(block_steps):
        x, noise, info = engine.step()
        seen = _in_order(x, noise, info, engine.state)
        if not has_bound:
            del seen["bound"]
        lost = {name: (~_finite(tensor)).tolist() for name, tensor in seen.items()}
        for m, known in enumerate(faults):
            names = [name for name in seen if lost[name][m]]
            if known is None and names:
                faults[m] = Fault(block * block_steps + n + 1, names[0])
    return faults


def _in_order(x: Tensor, noise: Any, info: Info, state: Any) -> dict[str, Tensor]:
    """The tensors of a step, each before those that are computed from it."""
    return {
        "data x": x,
        **trees.leaves(noise, "noise"),
        "bound": info.bound,
        "surrogate": info.surrogate,
        **{name: value for name, value in trees.leaves(state).items() if value.is_floating_point()},
    }


def _finite(tensor: Tensor) -> Tensor:
    """Of each model, by its extremes: NaN is passed on by both, and this costs a tenth of looking at every number."""
    values = tensor.flatten(1) if tensor.dim() > 1 else tensor.unsqueeze(1)
    return torch.isfinite(values.amax(1)) & torch.isfinite(values.amin(1))
