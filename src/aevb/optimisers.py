"""Stochastic gradient ascent on stacked weights, a step size per model.

An optimiser is a pair of functions: `init(params) -> state` and `ascend(state, params, grads, prior) -> (params,
state)`. It ascends the objective whose gradient is given, plus `prior` times log N(w; 0, I) of the weights: section 5
does approximate MAP, and a minibatch of M points is due M/N of the prior.

`ascend` consumes what it is given: it may overwrite params, grads and state, since passing over all weights is a
third of a step's time where memory is slow. Use what it returns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb.models import Params, is_weight
from aevb.trees import leaves, rebuild


class Optimiser(NamedTuple):
    init: Callable[[Params], Any]
    ascend: Callable[[Any, Params, Params, float], tuple[Params, Any]]


class AdagradState(NamedTuple):
    """`sums` like the parameters, eps + sum g^2; `seen` (M,), how many gradients they hold."""

    sums: Params
    seen: Tensor


def adagrad(step_size: Tensor, warm_up: int = 100, eps: float = 1e-8) -> Optimiser:
    """Adagrad (Duchi et al. 2010) as in the authors' code: w += step * g / sqrt(sum g^2 + eps).

    step_size: (M,), the global step size of each model. During the first `warm_up` gradients g^2 is
    accumulated and the weights stay (authors' code; the paper does not mention it).
    """

    one_pass = len(step_size.unique()) == 1  # a stack stands at one step, so its models share the warm-up too
    passes = [slice(None)] if one_pass else [slice(m, m + 1) for m in range(len(step_size))]
    steps_seen = torch.zeros((), device=step_size.device)  # by the kernel, for a decay that is not used

    def init(params: Params) -> AdagradState:
        sums = rebuild(params, {name: torch.full_like(w, eps) for name, w in leaves(params).items()})
        return AdagradState(sums, torch.zeros_like(step_size))

    def ascend(
        state: AdagradState, params: Params, grads: Params, prior: float
    ) -> tuple[Params, AdagradState]:
        w, g, sums = leaves(params), leaves(grads), leaves(state.sums)
        for models in passes:
            rate = step_size[models][:1] * (state.seen[models][:1] >= warm_up)
            for decayed, decay in ((True, prior), (False, 0.0)):
                names = [name for name in w if is_weight(name) == decayed]
                # the kernel of torch.optim.Adagrad(fused=True): one pass over the weights, in place
                torch._fused_adagrad_(
                    [w[name][models] for name in names],
                    [g[name][models].contiguous() for name in names],
                    [sums[name][models] for name in names],
                    [steps_seen] * len(names),
                    lr=rate,
                    lr_decay=0.0,
                    weight_decay=decay,
                    eps=0.0,  # the sums hold it
                    maximize=True,
                )
        return params, AdagradState(state.sums, state.seen + 1)

    return Optimiser(init, ascend)
