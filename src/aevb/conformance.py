"""What every learning algorithm promises, each promise a function of its `build` that raises BrokenRule.

A file of estimators/ is held to them by the tests, and a reader's own file before it is trained, so that a mistake is
a sentence and not a curve that looks odd after an hour.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aevb import UserError, trees
from aevb.engine import Minibatches, Recorded
from aevb.estimators import Estimator, Info
from aevb.models import BernoulliModel, GaussianModel, Model, Params
from aevb.optimisers import Optimiser, adagrad
from aevb.rules import BrokenRule, as_a_rule, require
from aevb.toy import LEARNER, double, generator, log_evidence, points, pure, quality, scramble

Build = Callable[[Model, Optimiser, int], Estimator]

MODELS: dict[str, Model] = {"bernoulli": BernoulliModel(6, 4, 2), "gaussian": GaussianModel(6, 4, 2, -6.0)}
N_TRAIN = 8
STEP_SIZES = [0.05, 0.1, 0.3]  # of the models of a stack
SDS = 5.5  # standard errors that a mean may be off: beyond them it falls once in 30 million times


def check(build: Build) -> list[str]:
    """Hold an estimator to every rule; the rules' names. Raises BrokenRule at the first that it breaks."""
    for rule in RULES.values():
        for model in MODELS.values():
            rule(build, model)
    for judge in RULES_OF_LEARNING.values():
        judge(build)
    return [*RULES, *RULES_OF_LEARNING]


# --------------------------------------------------------------------------------------------- the rules of a step


def keeps_shapes(build: Build, model: Model) -> None:
    """State has the model axis first and keeps its shapes and dtypes; Info holds (M,) each."""
    with as_a_rule("step(state, x, noise) must return (state, Info)"):
        estimator = _built(build, model, _optimiser(), N_TRAIN)
        state = _start(model, estimator)
        first = _shapes(state)
        wrong = ", ".join(name for name, (shape, _) in first.items() if not shape or shape[0] != 3)
        require(not wrong, f"every tensor of the state needs the model axis first; not so: {wrong}")
        for _ in range(3):
            state, info = estimator.step(state, _data(), _noise(estimator))
            now = _shapes(state)
            require(now.keys() == first.keys(), "a step must return a state with the tensors it was given")
            for name, shape in now.items():
                require(
                    shape == first[name],
                    f"a step must keep shapes and dtypes: {name} was {_words(first[name])}, is {_words(shape)}",
                )
            for name, value in zip(Info._fields, info, strict=True):
                require(
                    tuple(value.shape) == (3,),
                    f"Info.{name} needs one value per model, shape (M,) = (3,); it has {tuple(value.shape)}",
                )


def is_deterministic(build: Build, model: Model) -> None:
    """Same state, batch and noise, whatever the global generator does: the same bits."""
    with as_a_rule("step(state, x, noise) must run"):
        estimator = _built(build, model, _optimiser(), N_TRAIN)
        inputs = _start(model, estimator), _data(), _noise(estimator)
        torch.manual_seed(1)
        one = estimator.step(*map(trees.copy, inputs))
        torch.manual_seed(2)
        other = estimator.step(*map(trees.copy, inputs))
    require(
        trees.equal(one[0], other[0]) and trees.equal(one[1], other[1]),
        "step must be a function of state, x and noise: twice the same gave two results. Draw everything random in "
        "draw(), with its generator",
    )


def leaves_its_inputs(build: Build, model: Model) -> None:
    """Only the optimiser may consume what it is given: with a pure one, a step changes nothing."""
    with as_a_rule("step(state, x, noise) must run"):
        estimator = _built(build, model, _optimiser(), N_TRAIN)
        state, x, noise = _start(model, estimator), _data(), _noise(estimator)
        for _ in range(2):
            before = tuple(map(trees.copy, (state, x, noise)))
            new, _ = estimator.step(state, x, noise)
            for name, now, then in zip(("state", "x", "noise"), (state, x, noise), before, strict=True):
                require(trees.equal(now, then), f"step must leave its inputs as they are: it changed {name}")
            state = new


def draws_from_its_generator(build: Build, model: Model) -> None:
    """draw and step leave the global generators of torch and numpy alone, and do not look at them."""
    before, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    with as_a_rule("draw(generator, batch_size) must run"):
        estimator = _built(build, model, _optimiser(), N_TRAIN)
        noise = _noise(estimator)
        estimator.step(_start(model, estimator), _data(), noise)
        same, other = _noise(estimator), _noise(estimator, (3, 4, 5))
    untouched = torch.equal(before, torch.random.get_rng_state())
    untouched &= bool((before_numpy == np.random.get_state()[1]).all())  # type: ignore[index] # noqa: NPY002
    require(
        untouched, "hidden randomness: something was drawn from a global generator. Use draw()'s generator"
    )
    require(
        trees.equal(noise, same),
        "draw must depend on its generator alone: twice the same seed gave two noises",
    )
    require(not trees.equal(noise, other), "draw must use its generator: another seed gave the same noise")


def keeps_models_apart(build: Build, model: Model) -> None:
    """Three models of different weights, step sizes, data and noise, after four steps in double precision."""
    with as_a_rule("step must run in double precision"), double():
        estimator = _built(build, model, _optimiser(), N_TRAIN)
        first, x = _start(model, estimator), _data()
        state, infos = first, []
        for n in range(4):
            state, info = estimator.step(state, x, _noise(estimator, (n, n + 10, n + 20)))
            infos.append(info)
        for m, step_size in enumerate(STEP_SIZES):
            alone = _built(build, model, _optimiser([step_size]), N_TRAIN)
            one, close = trees.take(first, m), True
            for n in range(4):
                one, info = alone.step(one, x[m : m + 1], _noise(alone, (n + 10 * m,)))
                close &= _close(trees.take(infos[n], m), info)
            require(
                close and _close(trees.take(state, m), one),
                "a stack of models must learn what each learns alone: something mixes the axis M",
            )


def gives_every_weight_a_gradient(build: Build, model: Model) -> None:
    """What the optimiser is given is finite and, in every tensor of every model, not all zero; and it is used."""
    given: list[dict[str, Tensor]] = []

    def record(state: Any, params: Params, grads: Params, prior: float) -> tuple[Params, Any]:
        given.append(trees.leaves(grads))
        return params, state

    with as_a_rule("step(state, x, noise) must run"):
        shown = _built(build, model, Optimiser(lambda params: torch.zeros(3), record), N_TRAIN)
        first = _start(model, shown)
        shown.step(first, _data(), _noise(shown))
        estimator = _built(build, model, _optimiser(warm_up=0), N_TRAIN)
        start = _start(model, estimator)
        moved, _ = estimator.step(start, _data(), _noise(estimator))
    missing = set(trees.leaves(first.params)) - {name for grads in given for name in grads}
    require(not missing, f"the optimiser was never given a gradient of {', '.join(sorted(missing))}")
    for name, grad in (item for grads in given for item in grads.items()):
        require(bool(torch.isfinite(grad).all()), f"the gradient of {name} is not finite")
        require(bool((grad != 0).flatten(1).any(1).all()), f"the gradient of {name} is zero")
    before = trees.leaves(start.params)
    for name, w in trees.leaves(moved.params).items():
        changed = (w != before[name]).flatten(1).any(1).all()
        require(bool(changed), f"a step must return the optimiser's new weights: {name} stayed as it was")


def can_be_recorded(build: Build, model: Model) -> None:
    """A fixed sequence of tensor operations: training replays one step, recorded on a CPU or captured on a GPU."""
    estimator = _built(build, model, _optimiser(), N_TRAIN)
    batches = Minibatches(estimator, _data()[0], N_TRAIN)
    try:
        Recorded(batches, _start(model, estimator), [0, 1, 2], block_steps=1)
    except UserError as error:
        raise BrokenRule(
            "step must be a fixed sequence of tensor operations, without .item() or `if` on a tensor: "
            f"{error.__cause__}"
        ) from error


RULES: dict[str, Callable[[Build, Model], None]] = {
    "keeps shapes": keeps_shapes,
    "is deterministic": is_deterministic,
    "leaves its inputs": leaves_its_inputs,
    "draws from its generator": draws_from_its_generator,
    "keeps models apart": keeps_models_apart,
    "gives every weight a gradient": gives_every_weight_a_gradient,
    "can be recorded": can_be_recorded,
}


# ------------------------------------------------------------------------------------------------------- learning


def learns(build: Build) -> None:
    """200 steps from the small initial weights, judged by an evaluator that knows no method."""
    with as_a_rule("200 steps must run"):
        x = points().float().expand(2, -1, -1)
        estimator = _built(build, LEARNER, pure(adagrad(torch.tensor([0.05, 0.1]))), x.shape[1])
        state = estimator.init(trees.stack([LEARNER.init(generator(seed)) for seed in (0, 1)]))
        before, sources = quality(state.params), [generator(3), generator(4)]
        for _ in range(200):
            noise = trees.stack([estimator.draw(source, x.shape[1]) for source in sources])
            state, _ = estimator.step(state, x, noise)
        gain = quality(state.params) - before
    require(
        bool((gain > 1).all()),
        f"200 steps on a toy problem must raise the evaluator's bound by over a nat: it rose by {gain.min():.2f}",
    )


def reports_a_bound(build: Build) -> None:
    """What is called a bound lies below the exact log p(x) in the mean of 400 draws; NaN says that there is none."""
    copies = 400
    with as_a_rule("step(state, x, noise) must run"):
        x = points().float()
        estimator = _built(build, LEARNER, pure(adagrad(torch.full((copies,), 0.1))), len(x))
        one = scramble(trees.stack([LEARNER.init(generator(0))]), 0.5, 1)
        exact = log_evidence(one).mean()
        state = estimator.init(trees.concatenate([one] * copies))
        noise = trees.stack([estimator.draw(generator(seed), len(x)) for seed in range(copies)])
        bound = estimator.step(state, x.expand(copies, -1, -1), noise)[1].bound.double()
    if bool(bound.isnan().all()):
        require(
            not state.params.phi,
            "Info.bound must be a bound: NaN is for methods without an encoder, and would count as diverged",
        )
        return
    slack = SDS * bound.std() / math.sqrt(copies)
    require(
        bool(bound.mean() < exact + slack),
        f"Info.bound must be a lower bound on log p(x) in nats per data point, NaN where there is none: its mean is "
        f"{bound.mean():.2f}, and log p(x) is {exact:.2f}",
    )


RULES_OF_LEARNING: dict[str, Callable[[Build], None]] = {
    "learns": learns,
    "reports a bound": reports_a_bound,
}


# -------------------------------------------------------------------------------------------------------- scaffold


def _optimiser(step_sizes: list[float] = STEP_SIZES, warm_up: int = 1) -> Optimiser:
    return pure(adagrad(torch.tensor(step_sizes), warm_up))


def _built(build: Build, model: Model, optimiser: Optimiser, n_train: int) -> Estimator:
    with as_a_rule("build(model, optimiser, n_train) must return an Estimator"):
        estimator = build(model, optimiser, n_train)
    require(
        isinstance(estimator, Estimator),
        f"build must return an Estimator(init, draw, step); it returned {type(estimator).__name__}",
    )
    return estimator


def _start(model: Model, estimator: Estimator) -> Any:
    """A stack with weights of order one, so that every path carries a signal."""
    alone = [trees.stack([model.init(generator(m))]) for m in range(3)]
    params = trees.concatenate([scramble(params, 0.8, seed) for seed, params in enumerate(alone)])
    with as_a_rule("init(params) must return the state"):
        return estimator.init(params)


def _data() -> Tensor:
    return torch.rand(3, N_TRAIN, 6, generator=generator(1))


def _noise(estimator: Estimator, seeds: tuple[int, ...] = (0, 1, 2)) -> Any:
    with as_a_rule("draw(generator, batch_size) must return the noise"):
        return trees.stack([estimator.draw(generator(seed), N_TRAIN) for seed in seeds])


def _words(shape: tuple[torch.Size, torch.dtype]) -> str:
    return f"{tuple(shape[0])} {str(shape[1]).removeprefix('torch.')}"


def _shapes(tree: Any) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in trees.leaves(tree).items()}


def _close(a: Any, b: Any) -> bool:
    """Two trees of the same tensors agree up to the rounding of double precision."""
    first, second = trees.leaves(a), trees.leaves(b)
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=1e-9, atol=1e-9, equal_nan=True) for name in first
    )
