"""Learning algorithms, one file each; the file's name is the algorithm's identifier in config.yaml.

Every file has `build(model, optimiser, n_train, **settings) -> Estimator`. Randomness is an input: `draw` makes
everything random about one step, `step` is a deterministic function of state, batch and noise.
"""

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import UserError, provenance
from aevb.distributions import Gaussian
from aevb.models import Model, Params, Weights
from aevb.optimisers import Optimiser
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

    State is a named tuple with the field `params`; each of its tensors has the model axis M first, and a run in whose
    state a number is not finite has diverged. Noise has
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


def load(name: str, source: str = "") -> Callable[..., Estimator]:
    """The `build` function of estimators/{name}.py, or of the file or module that `source` names.

    Raises UserError when there is no such file, or when importing it raises.
    """
    module = provenance.estimator(name, source)
    if not source:
        found = importlib.import_module(f"aevb.estimators.{name}")
    else:
        try:
            provenance.find_here()
            found = _from_path(name, module) if source.endswith(".py") else importlib.import_module(source)
        except Exception as error:
            raise UserError(f"Importing the estimator {module} raised {error!r}.") from error
    build: Callable[..., Estimator] = found.build
    return build


def _from_path(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"aevb_reader_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses and pickles look their module up
    spec.loader.exec_module(found)
    return found


class Objective(NamedTuple):
    """Of every data point, (M, B) in nats.

    surrogate: the function of the weights whose gradient a step follows.
    bound: the lower bound on log p(x) at the same draws; NaN where the method has none.
    """

    surrogate: Tensor
    bound: Tensor


class State(NamedTuple):
    """All that most methods carry from step to step."""

    params: Params
    optimiser: Any


class Noise(NamedTuple):
    """All that most methods draw for a step: the eps of z = mu + sigma eps (eq. 4)."""

    eps: Tensor  # (L, B, N_z)


def ascend(
    objective: Callable[[Model, Params, Tensor, Tensor], Objective],
    model: Model,
    optimiser: Optimiser,
    n_train: int,
    n_samples: int,
) -> Estimator:
    """The estimator that follows the gradient of `objective(model, params, x, eps)`, summed over the minibatch.

    x (M, B, D); eps (M, n_samples, B, N_z), standard normal. Algorithm 1, but that the sum is M/N of eq. 8's, and so
    is the prior that is added.
    """

    def init(params: Params) -> State:
        return State(params, optimiser.init(params))

    def draw(generator: torch.Generator, batch_size: int) -> Noise:
        return Noise(Gaussian.draw_noise(generator, (n_samples, batch_size, model.n_latent)))

    def step(state: State, x: Tensor, noise: Noise) -> tuple[State, Info]:
        batch_size = x.shape[1]

        def total(params: Params) -> tuple[Tensor, Tensor]:
            terms = objective(model, params, x, noise.eps)
            for name, term in terms._asdict().items():
                if term.shape != x.shape[:2]:
                    raise UserError(
                        f"Objective.{name} needs one value per model and data point, shape (M, B) = "
                        f"{tuple(x.shape[:2])}; it has {tuple(term.shape)}. Average over samples, not over points."
                    )
            return terms.surrogate.sum(-1), terms.bound.sum(-1)

        surrogate, bound, grads = gradient_beside(total, state.params)
        params, optimiser_state = optimiser.ascend(state.optimiser, state.params, grads, batch_size / n_train)
        return State(params, optimiser_state), Info(bound / batch_size, surrogate / batch_size)

    return Estimator(init, draw, step)


def ascend_bound(
    bound: Callable[[Model, Params, Tensor, Tensor], Tensor],
    model: Model,
    optimiser: Optimiser,
    n_train: int,
    n_samples: int,
) -> Estimator:
    """As `ascend`, of a bound that is its own objective: `bound(model, params, x, eps)` -> (M, B)."""

    def objective(model: Model, params: Params, x: Tensor, eps: Tensor) -> Objective:
        value = bound(model, params, x, eps)
        return Objective(value, value)

    return ascend(objective, model, optimiser, n_train, n_samples)


def propose(model: Model, phi: Weights, x: Tensor, eps: Tensor) -> tuple[Gaussian, Tensor]:
    """q(z | x) with an axis for samples, parameters (M, 1, B, N_z), and draws z = mu + sigma eps (M, L, B, N_z)."""
    q = model.encode(phi, x)
    q = Gaussian(q.mu.unsqueeze(1), q.log_var.unsqueeze(1))
    return q, q.sample(eps)


def fixed(q: Gaussian) -> Gaussian:
    """q with no gradient for its parameters."""
    return Gaussian(q.mu.detach(), q.log_var.detach())


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log 1/K sum_k w_k over the axis of samples: (M, K, B) -> (M, B)."""
    return torch.logsumexp(log_w, 1) - math.log(log_w.shape[1])


def gradient(objective: Callable[[Params], Tensor], params: Params) -> tuple[Tensor, Params]:
    """The objective (M,) and its gradient for each model's weights.

    objective: params -> (M,), a sum over the minibatch. The sum over models of independent terms decouples:
    each model receives its own gradient.
    """
    value, _, grads = gradient_beside(lambda params: (objective(params),) * 2, params)
    return value, grads


def gradient_beside(
    objective: Callable[[Params], tuple[Tensor, Tensor]], params: Params
) -> tuple[Tensor, Tensor, Params]:
    """As `gradient`, of an objective that returns a second value (M,) beside its own; that has no gradient."""
    with torch.enable_grad():
        named = {name: w.detach().requires_grad_() for name, w in leaves(params).items()}
        value, beside = objective(rebuild(params, named))
        grads = torch.autograd.grad(value.sum(), list(named.values()))
    return value.detach(), beside.detach(), rebuild(params, dict(zip(named, grads, strict=True)))
