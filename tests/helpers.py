"""Checks that several test files share.

A statistical check compares with SDS standard errors: two-sided, a normal mean falls outside with probability
4e-8, so that tens of comparisons in one test still fail falsely less than once in a million. Its power is shown by
wrong variants that it must reject.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from aevb import data, gradients, trees
from aevb.experiments import Cell
from aevb.models import Params
from aevb.optimisers import Optimiser
from aevb.toy import pure, scramble  # noqa: F401  tests import them from here
from aevb.trees import equal  # noqa: F401

SDS = 5.5

CPU = torch.device("cpu")
CELL = Cell(  # a tiny one, of the digits
    dataset="digits",
    estimator="aevb",
    n_hidden=5,
    n_latent=2,
    n_train=200,
    decoder="bernoulli",
    batch_size=100,
    warm_up=10,
    train_points=100,
    settings={"n_samples": 1},
)
CUDA = pytest.param(
    torch.device("cuda"),
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    id="cuda",
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def assert_mean(draws: Tensor, expected: Tensor | float) -> None:
    """The mean over the first axis of independent draws is `expected`, within SDS standard errors."""
    error = draws.std(0) / len(draws) ** 0.5
    z = (draws.mean(0) - expected) / error
    assert torch.all(z.abs() < SDS), f"off by {z.abs().max():.1f} standard errors"


def rejects(check: Callable[..., None], *wrong: Any) -> None:
    """The check must fail on each wrong variant; otherwise it has no power."""
    for variant in wrong:
        with pytest.raises(AssertionError):
            check(variant)


def assert_close(a: Any, b: Any, rtol: float, atol: float) -> None:
    """Two trees agree, leaf by leaf."""
    torch.testing.assert_close(trees.leaves(a), trees.leaves(b), rtol=rtol, atol=atol, equal_nan=True)


def two_kinds(n_train: int = 64) -> data.Split:
    """Made-up digits of 16 pixels, of two kinds, so that there is something to learn; 32 of them to test."""
    rng = np.random.default_rng(0)
    kinds = rng.random((2, 16))
    levels = kinds[rng.integers(2, size=n_train + 32)] * 200 + rng.random((n_train + 32, 16)) * 55
    images = levels.astype(np.uint8)
    return data.make_split("digits", images[:n_train], images[n_train:], 255.0, (4, 4))


def revealing() -> Optimiser:
    """An optimiser whose new weights are the gradients it would ascend, the prior's included: it shows what an
    estimator hands over."""
    bare = gradients.revealing()

    def ascend(state: Any, params: Params, grads: Params, prior: float) -> tuple[Params, Any]:
        shown, state = bare.ascend(state, params, grads, prior)
        named = trees.leaves(params)
        ascended = {n: g - prior * named[n] if _has_prior(n) else g for n, g in trees.leaves(shown).items()}
        return trees.rebuild(shown, ascended), state

    return Optimiser(bare.init, ascend)


def with_prior(optimiser: Optimiser, change: Callable[[float], float]) -> Optimiser:
    """The optimiser with another share of the prior than it is asked for."""

    def ascend(state: Any, params: Params, grads: Params, prior: float) -> tuple[Params, Any]:
        return optimiser.ascend(state, params, grads, change(prior))

    return Optimiser(optimiser.init, ascend)


def finite_differences(objective: Callable[[Params], Tensor], params: Params, h: float = 1e-5) -> Params:
    """Central differences of the scalar objective in every coordinate of one model's params (M = 1)."""
    grads = {}
    named = trees.leaves(params)
    for name, w in named.items():
        grad = torch.zeros_like(w)
        for i in range(w.numel()):
            values = []
            for sign in (1, -1):
                moved = w.clone()
                moved.view(-1)[i] += sign * h
                values.append(objective(trees.rebuild(params, named | {name: moved})))
            grad.view(-1)[i] = (values[0] - values[1]) / (2 * h)
        grads[name] = grad
    return trees.rebuild(params, grads)


def log_prior(params: Params) -> Tensor:
    """log N(w; 0, I) up to a constant, of the weights and not of the biases: the MAP prior of section 5."""
    weights = [w for name, w in trees.leaves(params).items() if _has_prior(name)]
    return sum((-0.5 * w.square().sum() for w in weights), torch.zeros(()))


def _has_prior(name: str) -> bool:
    return name.split(".")[-1].startswith("w_")


def parameter_count(k: int, n_latent: int) -> int:
    """Free parameters of a mixture of k components: weights, means, covariances."""
    return k - 1 + k * n_latent + k * n_latent * (n_latent + 1) // 2
