"""What an average of weights is worth: effective number, tail, autocorrelation, agreement of chains.

The statistics are those of ArviZ (Vehtari et al. 2021, 2024), on the CPU in double precision.
"""

import numpy as np
import torch
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from torch import Tensor

from aevb.evidence import Evidence, Refusal

MAX_K_HAT = 0.7
MAX_R_HAT = 1.1
SMALLEST_TAIL = 25  # weights of which ArviZ takes the largest fifth: 5, the fewest a tail can be fitted to
TIE = 1e-10  # nats
ZERO = -1e6  # nats


def of_mean(log_w: Tensor, sign: int) -> Evidence:
    """sign * log of the mean of w, its error and what the weights are like; log_w (n, C, M, B).

    n draws of each of C chains (independent draws: C chains of any length), averaged over both. sign is 1 where the
    mean estimates p(x), -1 where it estimates 1/p(x). acceptance and r_hat are left NaN; a mean that is not finite
    or whose tail is too heavy is refused.
    """
    flat = log_w.double().flatten(0, 1)
    count = len(flat)
    log_mean = torch.logsumexp(flat, 0) - np.log(count)
    share = torch.softmax(flat, 0)
    ess = 1 / share.square().sum(0)
    spread = ((count * share - 1).square().sum(0) / (count - 1)).sqrt()
    k_hat = pareto_k_hat(flat)
    std_error = spread / autocorrelated_ess((count * share).unflatten(0, log_w.shape[:2])).sqrt()
    finite = torch.isfinite(log_mean)
    refusal = torch.where(k_hat > MAX_K_HAT, Refusal.HEAVY_TAIL, Refusal.NONE)
    refusal = torch.where(finite, refusal, Refusal.NOT_FINITE)
    unknown = torch.full_like(log_mean, torch.nan)
    return Evidence(
        estimate=sign * log_mean,
        std_error=std_error,
        ess=ess,
        largest_share=share.amax(0),
        log_range=flat.amax(0) - flat.amin(0),
        k_hat=k_hat,
        acceptance=unknown,
        r_hat=unknown,
        refusal=refusal,
    )


def pareto_k_hat(log_w: Tensor) -> Tensor:
    """Shape of the weights' right tail, log_w (L, ...) -> (...); infinite where a weight is not a number or infinite.

    NaN for fewer than 25 weights, of which no tail can be fitted.
    """
    n = len(log_w)
    if n < SMALLEST_TAIL:
        return torch.full_like(log_w[0], torch.nan)
    rows = log_w.flatten(1).T.cpu().double().numpy()
    finite = np.isfinite(rows.max(1))
    rows = rows[finite] - rows[finite].max(1, keepdims=True)
    rows = np.maximum(rows, ZERO)  # beside the largest
    k_hat = np.full(len(finite), np.inf)
    if len(rows):
        # equal weights, such as those of a chain that stood still, have no shape: part them by less than counts
        with np.errstate(all="ignore"):
            _, fitted = array_stats.psislw(-(rows + TIE * np.arange(n)), axis=-1)
        # no shape can be told, and no light tail believed, where one weight is everything
        weights = np.exp(rows)
        alone = weights.sum(1) ** 2 < 1.5 * (weights**2).sum(1)
        k_hat[finite] = np.where(np.isnan(fitted) | (alone & (fitted <= MAX_K_HAT)), np.inf, fitted)
    return _like(k_hat, log_w[0])


def autocorrelated_ess(draws: Tensor) -> Tensor:
    """How many independent draws the mean of n draws of C chains is worth: (n, C, ...) -> (...).

    Draws that are not finite, or of which there are fewer than four, are counted as they are.
    """
    n, chains = draws.shape[:2]
    rows = draws.flatten(2).permute(2, 1, 0).cpu().double().numpy()
    ess = np.full(len(rows), float(n * chains))
    usable = np.isfinite(rows).all((1, 2)) & (np.ptp(rows, axis=(1, 2)) > 0)
    if n >= 4 and usable.any():
        ess[usable] = array_stats.ess(rows[usable], chain_axis=1, draw_axis=2, method="mean")
    return _like(ess, draws[0, 0])


def split_r_hat(z: Tensor) -> Tensor:
    """The largest split R-hat of a coordinate, z (n, C, M, B, N_z) -> (M, B); 1 for chains that agree."""
    rows = z.permute(2, 3, 4, 1, 0).cpu().double().numpy()
    with np.errstate(invalid="ignore", divide="ignore"):  # chains that stood still
        r_hat = array_stats.rhat(rows, chain_axis=3, draw_axis=4, method="split")
    return _like(np.max(r_hat, axis=-1), z[0, 0, ..., 0])


def _like(values: NDArray[np.float64], tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(values)).reshape(tensor.shape).to(tensor.device)
