"""Stochastic gradient ascent on stacked weights, a step size per model.

An optimiser is a pair of functions: `init(params) -> state` and `ascend(state, params, grads) -> (params,
state)`. Trees go in, new trees come out; nothing is changed in place.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb.models import Params
from aevb.trees import leaves, rebuild


class Optimiser(NamedTuple):
    init: Callable[[Params], Any]
    ascend: Callable[[Any, Params, Params], tuple[Params, Any]]


class AdagradState(NamedTuple):
    """`sums` like the parameters, eps + sum g^2; `seen` (M,), how many gradients they hold."""

    sums: Params
    seen: Tensor


def adagrad(step_size: Tensor, warm_up: int = 100, eps: float = 1e-8) -> Optimiser:
    """Adagrad (Duchi et al. 2010) as in the authors' code: w += step * g / sqrt(sum g^2 + eps).

    step_size: (M,), the global step size of each model. During the first `warm_up` gradients g^2 is
    accumulated and the weights stay (authors' code; the paper does not mention it).
    """

    def init(params: Params) -> AdagradState:
        sums = rebuild(params, {name: torch.full_like(w, eps) for name, w in leaves(params).items()})
        return AdagradState(sums, torch.zeros_like(step_size))

    def ascend(state: AdagradState, params: Params, grads: Params) -> tuple[Params, AdagradState]:
        rate = (step_size * (state.seen >= warm_up)).reshape(-1, 1, 1)
        sums, named_grads = leaves(state.sums), leaves(grads)
        moved = {}
        for name, w in leaves(params).items():
            g = named_grads[name]
            sums[name] = torch.addcmul(sums[name], g, g)
            direction = sums[name].rsqrt().mul_(g)
            moved[name] = torch.addcmul(w, direction, rate)
        return rebuild(params, moved), AdagradState(rebuild(params, sums), state.seen + 1)

    return Optimiser(init, ascend)
