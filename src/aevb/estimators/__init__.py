"""Learning algorithms, one file each; the file's name is the algorithm's identifier in config.yaml.

Every file has `build(model, optimiser, n_train, **settings) -> Estimator`. Randomness is an input: `draw` makes
everything random about one step, `step` is a deterministic function of state, batch and noise.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import UserError, provenance
from aevb.models import Params
from aevb.trees import leaves, rebuild


class Info(NamedTuple):
    """What a reader wants to know of one step, each (M,) in nats per data point.

    bound: the lower bound on the minibatch; NaN where the method has none.
    surrogate: the objective that the step ascends, where it is not a bound; never plotted.
    """

    bound: Tensor
    surrogate: Tensor


class Estimator(NamedTuple):
    """init(params) -> State; draw(generator, batch_size) -> Noise; step(state, batch, noise) -> (State, Info).

    State is a named tuple with the field `params`; each of its tensors has the model axis M first. Noise has
    no model axis; the runner stacks the noise of M models. batch: x (M, B, D).
    `step` is a fixed sequence of tensor operations, so that it can be recorded once and replayed: it draws
    nothing, and neither reads a tensor's value (`.item()`) nor branches on one. It may consume the state.
    full_batch: a step takes all N_train points in their order, instead of a minibatch.
    evaluations: how often one step evaluates each point of its batch (the paper's "samples evaluated").
    """

    init: Callable[[Params], Any]
    draw: Callable[[torch.Generator, int], Any]
    step: Callable[[Any, Tensor, Any], tuple[Any, Info]]
    full_batch: bool = False
    evaluations: int = 1


def load(name: str) -> Callable[..., Estimator]:
    """The `build` function of estimators/{name}.py.

    Raises UserError when there is no such file.
    """
    if name not in provenance.estimators():
        raise UserError(f"There is no estimator '{name}'. Known ones: {', '.join(provenance.estimators())}.")
    build: Callable[..., Estimator] = importlib.import_module(f"aevb.estimators.{name}").build
    return build


def gradient(objective: Callable[[Params], Tensor], params: Params) -> tuple[Tensor, Params]:
    """The objective (M,) and its gradient for each model's weights.

    objective: params -> (M,), a sum over the minibatch. The sum over models of independent terms decouples:
    each model receives its own gradient.
    """
    with torch.enable_grad():
        named = {name: w.detach().requires_grad_() for name, w in leaves(params).items()}
        value = objective(rebuild(params, named))
        grads = torch.autograd.grad(value.sum(), list(named.values()))
    return value.detach(), rebuild(params, dict(zip(named, grads, strict=True)))
