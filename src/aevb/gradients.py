"""How noisy an estimator's gradient is at given weights: the experiment behind sections 2.2 and 2.3 of the paper.

    g_r = 1/B grad sum_b L~(theta, phi; x_b, eps_r),    r = 1..R

are R independent draws of the gradient at one minibatch: only the noise differs. g is that of a minibatch's mean, in
nats per data point; it is what a step follows, up to the step size and the MAP prior, which has no noise and is left
out. Of encoder and decoder apart:

    squared norm        |E g|^2
    variance            tr Cov g, the sum of the variances of all weights' gradients
    signal to noise     |E g| / sqrt(tr Cov g)

As the noises of the B data points are independent, the variance falls as 1/B and the ratio rises as sqrt(B).

Errors are those of the jackknife that leaves out one draw at a time (Efron & Stein 1981). Each quantity is a smooth
function of means over independent draws, for which it is consistent, and where there is no signal it errs on the side
of too large an error. It needs two numbers of each draw and no second source of randomness, and where two estimators
saw the same noise it sees that in their ratio.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import trees
from aevb.estimators import Estimator
from aevb.models import Model, Params
from aevb.optimisers import Optimiser

DECODED = 5_000  # latents decoded at a time: a quarter of a gigabyte of activations for MNIST
COPIES = 20  # gradients computed at a time

Parts = dict[str, Tensor]  # by "encoder" and "decoder"


class Moments(NamedTuple):
    """Two moments of a gradient, (1 + R,) each: the estimate, unbiased, and then the estimates without each draw."""

    squared_norm: Tensor  # |E g|^2
    variance: Tensor  # tr Cov g


def revealing() -> Optimiser:
    """An optimiser whose new weights are the gradients that an estimator hands over, without the prior's."""

    def ascend(state: Any, params: Params, grads: Params, prior: float) -> tuple[Params, Any]:
        return grads, state

    return Optimiser(init=lambda params: torch.zeros(1), ascend=ascend)


def at_a_time(n_samples: int, batch_size: int) -> int:
    """How many draws of the gradient to compute side by side, so that memory does not grow with L."""
    return min(COPIES, max(1, DECODED // (n_samples * batch_size)))


def draw(
    build: Callable[[Model, Optimiser, int], Estimator],
    model: Model,
    params: Params,
    x: Tensor,
    generators: list[torch.Generator],
    chunk: int,
) -> Parts:
    """A draw of the gradient per generator, for encoder and decoder: (R, weights of that part).

    params: of one model (M = 1), copied along the model axis; x: (1, B, D), or (R, B, D) for a minibatch per draw.
    chunk: draws at a time. The gradients of all draws are held in memory, 4 R bytes a weight.
    """
    batch_size = x.shape[1]
    estimator = build(model, revealing(), batch_size)
    x = x.expand(len(generators), -1, -1)
    parts = {name: _empty(part, len(generators)) for name, part in _parts(params).items()}
    for start in range(0, len(generators), chunk):
        now = slice(start, start + chunk)
        noise = trees.stack([estimator.draw(generator, batch_size) for generator in generators[now]])
        state, _ = estimator.step(estimator.init(_copies(params, len(x[now]))), x[now], noise)
        for name, grads in _parts(state.params).items():
            torch.cat([g.flatten(1) for g in grads.values()], 1, out=parts[name][now])
            parts[name][now] /= batch_size
    return parts


def _parts(params: Params) -> dict[str, dict[str, Tensor]]:
    return {"encoder": params.phi, "decoder": params.theta}


def _empty(part: dict[str, Tensor], n: int) -> Tensor:
    [first, *_] = part.values()
    return first.new_empty(n, sum(w.numel() for w in part.values()))


def _copies(params: Params, n: int) -> Params:
    """The weights of n models that are one: nothing is copied, since nothing is written."""
    return trees.rebuild(params, {name: w.expand(n, -1, -1) for name, w in trees.leaves(params).items()})


def moments(draws: Tensor) -> Moments:
    """Squared norm of the mean and variance of draws of a gradient (R, P), R > 2.

    The squared norm of the draws' mean is too large by tr Cov g / R, which for a noisy gradient is most of it and is
    taken off; what is left may be negative where R draws do not show a signal.
    """
    n, mean = len(draws), draws.mean(0, dtype=torch.float64)
    # a draw at a time: double precision for all of them at once would take gigabytes
    apart = (g - mean for g in draws)
    along, squared = torch.stack([torch.stack([d @ mean, d @ d]) for d in apart]).T
    variance, norm = _with_and_without(squared), mean @ mean
    # without draw r the mean is mean - (g_r - mean) / (R - 1)
    without = norm - 2 * along / (n - 1) + squared / (n - 1) ** 2
    biased = torch.cat([norm[None], without])
    return Moments(
        biased - variance / torch.cat([norm.new_tensor([n]), torch.full_like(without, n - 1)]), variance
    )


def covariance(one: Tensor, other: Tensor) -> Tensor:
    """tr Cov of two gradients drawn in pairs, (R, P) each, R > 2: unbiased, (1 + R,).

    Of two gradients at the same minibatch, itself drawn at random, with independent noise, it is the variance of
    their mean from one minibatch to the next: the noise of the data.
    """
    means = [draws.mean(0, dtype=torch.float64) for draws in (one, other)]
    products = [(a - means[0]) @ (b - means[1]) for a, b in zip(one, other, strict=True)]
    return _with_and_without(torch.stack(products))


def _with_and_without(products: Tensor) -> Tensor:
    """The unbiased covariance from the products (R,) of deviations from the mean, and the same without each draw."""
    n, total = len(products), products.sum()
    return torch.cat([total[None] / (n - 1), (total - n / (n - 1) * products) / (n - 2)])


def jackknife(values: Tensor) -> tuple[float, float]:
    """Estimate and standard error from an estimate followed by the estimates without each draw, (1 + R,)."""
    without = values[1:]
    error = ((len(without) - 1) * (without - without.mean()).square().mean()).sqrt()
    return values[0].item(), error.item()


def signal_to_noise(found: Moments) -> tuple[float, float, float]:
    """|E g| / sqrt(tr Cov g) and the ends of its 95 % interval.

    The interval is that of the ratio's square, which is symmetric near zero; an interval from 0 on says that R draws
    do not tell the signal from none.
    """
    square, error = jackknife(found.squared_norm / found.variance)
    low, high = square - 1.96 * error, square + 1.96 * error
    return max(square, 0.0) ** 0.5, max(low, 0.0) ** 0.5, max(high, 0.0) ** 0.5
