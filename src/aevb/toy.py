"""A problem small enough to be judged exactly: 60 binary images of 16 pixels and one latent dimension."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from aevb import trees
from aevb.bounds import mean_elbo
from aevb.models import BernoulliModel, Params
from aevb.optimisers import Optimiser

LEARNER = BernoulliModel(n_features=16, n_hidden=6, n_latent=1)


def points() -> Tensor:
    """60 points of 16 pixels; a pixel's frequency alone, without z, is worth over 2 nats."""
    return (torch.rand(60, 16, generator=generator(2)) < torch.linspace(0.1, 0.9, 16)).to(torch.uint8)


def quality(params: Params) -> Tensor:
    """The evaluator's bound, or without an encoder the exact log p(x), in nats per point, (M,)."""
    if not params.phi:
        return log_evidence(params).mean(1)
    bounds = [
        mean_elbo(LEARNER, params, points(), 1.0, [generator(seed), generator(seed)]) for seed in range(20)
    ]
    return torch.stack(bounds).mean(0)


def log_evidence(params: Params) -> Tensor:
    """log p(x) of `points()` by the trapezoid rule in the one latent dimension, (M, B)."""
    nodes, x = torch.linspace(-8, 8, 401), points().float()
    n_models = len(params.theta["b_h"])
    z = nodes.reshape(1, -1, 1, 1).expand(n_models, -1, len(x), 1)
    log_p = LEARNER.log_joint(params.theta, x.expand(n_models, -1, -1), z)
    return (torch.logsumexp(log_p, 1) + torch.log(nodes[1] - nodes[0])).double()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scramble(params: Params, scale: float = 1.0, seed: int = 0) -> Params:
    """Params of the same shapes with weights of order `scale`: far from the almost linear start."""
    source = generator(seed)
    named = {
        name: scale * torch.randn(w.shape, generator=source, dtype=w.dtype)
        for name, w in trees.leaves(params).items()
    }
    return trees.rebuild(params, named)


def pure(optimiser: Optimiser) -> Optimiser:
    """The optimiser on copies of what it is given, so that a state can be used twice."""

    def ascend(state: Any, params: Params, grads: Params, prior: float) -> tuple[Params, Any]:
        return optimiser.ascend(trees.copy(state), trees.copy(params), trees.copy(grads), prior)

    return Optimiser(optimiser.init, ascend)


def double() -> AbstractContextManager[None]:
    """Double precision as the default within: what checks mathematics, not rounding, runs in it."""
    return precision(torch.float64)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Numbers of this type as the default within."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
