"""Where numbers stop being numbers: which models of a stack, at which step, in which tensor.

A block of steps is watched as a whole, by its bounds and by the state that it leaves. Only when a model is lost in
it is the block run once more, from a copy of the state before it, one step at a time.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import trees
from aevb.engine import Engine, Minibatches


class Fault(NamedTuple):
    """The first tensor of a run that was not finite."""

    step: int  # counted from the run's first, 1
    tensor: str  # data x; noise.*; bound; surrogate; or of the state: params.theta.*, params.phi.*, optimiser.*, ...


def finite(state: Any, bound: Tensor | None) -> list[bool]:
    """Of each of M models: whether its state, and its bound (M,) where the method has one, are finite."""
    watched = [*_numbers(state).values(), *([] if bound is None else [bound])]
    return torch.stack([_finite(tensor) for tensor in watched]).all(0).tolist()


def locate(
    batches: Minibatches, state: Any, seeds: list[int], block_steps: int, block: int, has_bound: bool
) -> list[Fault | None]:
    """The fault of each of M models in that block, None where none is found.

    state: before the block; it is consumed. What is wrong in it already is a fault of the step before.
    """
    engine = Engine(batches, state, seeds, block_steps)
    engine.restart(block)
    first = block * block_steps
    faults = [Fault(first, name) if name else None for name in _lost(_numbers(state))]
    for step in range(first + 1, first + block_steps + 1):
        x, noise, info = engine.step()
        said = {"bound": info.bound, "surrogate": info.surrogate}
        if not has_bound:
            del said["bound"]
        seen = {"data x": x, **trees.leaves(noise, "noise"), **said, **_numbers(engine.state)}
        for m, name in enumerate(_lost(seen)):
            if name is not None and faults[m] is None:
                faults[m] = Fault(step, name)
    return faults


def _lost(seen: dict[str, Tensor]) -> list[str | None]:
    """The first of the named tensors, each (M, ...), that is not finite, for each model."""
    sound = {name: _finite(tensor).tolist() for name, tensor in seen.items()}
    names = [[name for name in seen if not sound[name][m]] for m in range(len(next(iter(sound.values()))))]
    return [those[0] if those else None for those in names]


def _numbers(state: Any) -> dict[str, Tensor]:
    """The tensors of a state that can hold NaN."""
    return {name: value for name, value in trees.leaves(state).items() if value.is_floating_point()}


def _finite(tensor: Tensor) -> Tensor:
    """Of each model, by its extremes: NaN is passed on by both, and this costs a tenth of looking at every number."""
    values = tensor.flatten(1) if tensor.dim() > 1 else tensor.unsqueeze(1)
    return torch.isfinite(values.amax(1)) & torch.isfinite(values.amin(1))
