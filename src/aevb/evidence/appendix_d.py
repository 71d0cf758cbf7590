"""The paper's estimator of the marginal likelihood (Appendix D).

    1/p(x) ~ 1/L sum_l q(z_l) / (p(z_l) p(x | z_l)),    z_l ~ p(z | x) by HMC,

with a density q fitted to other posterior draws than those it is evaluated on. In expectation log p(x) comes out too
high (Jensen). `evidence`, the default, fits a mixture of Gaussians; `evidence_paper` is the authors' choice, a kernel
density per point whose bandwidth is Scott's factor times exp((i - 5)/2), i = 0..9, the best on held-out draws. The
paper uses the estimator below five latent dimensions only, and so do we.
"""

import math

import torch
from torch import Tensor

from aevb import trees
from aevb.evidence import Evidence, Refusal, diagnostics, in_chunks, mixture, posterior
from aevb.evidence.posterior import CHAINS, Draws
from aevb.models import Model, Params

DIRECTION = "upper"
COMPONENTS = 3
SHRINKAGE = (
    0.8  # of the components' covariances: a weight's variance is finite where q's tails are the lighter
)
CHUNK = 500  # models times data points at a time: bounds memory
# times the draws for a point that is refused, and the refusals for which they are worth their time
RETRIES = {4: tuple(Refusal)[1:], 16: (Refusal.HEAVY_TAIL, Refusal.UNMIXED)}


def evidence(
    model: Model,
    params: Params,
    x: Tensor,
    generators: list[torch.Generator],
    draws: int = 250,
    leapfrogs: int = 4,
    acceptance: float = 0.9,
    warm_up: int = 200,
) -> Evidence:
    """log p(x) of every point: x (B, D), weights of M models, one generator per model. q is a mixture of Gaussians.

    draws: posterior draws to fit q, and as many of other chains to average over; then the two change places, so
    that 2 x draws are averaged. A point that is refused is tried again with 4 times as many, and where their number
    alone may be at fault with 16 times as many (RETRIES).

    Raises UserError when N_z > 4: the estimator's variance explodes with the dimension.
    """

    def with_draws(params: Params, x: Tensor, generators: list[torch.Generator], times: int) -> Evidence:
        n = -(-times * draws // (CHAINS // 2))

        def estimate(x: Tensor) -> Evidence:
            kept = posterior.draw(model, params, x, generators, n, leapfrogs, acceptance, warm_up)
            return cross_fitted(kept, generators)

        return in_chunks(x, CHUNK // len(generators) // times, estimate)

    result = with_draws(params, x, generators, 1)
    for times, refusals in RETRIES.items():
        refused = torch.isin(result.refusal, result.refusal.new_tensor(refusals))
        for m in refused.any(1).nonzero().flatten().tolist():  # a model's points are its own
            again = refused[m]
            retried = with_draws(trees.take(params, m), x[again], generators[m : m + 1], times)
            for field, new in zip(result, retried, strict=True):
                field[m, again] = new[0]
    return result


def evidence_paper(
    model: Model,
    params: Params,
    x: Tensor,
    generators: list[torch.Generator],
    draws: int = 50,
    leapfrogs: int = 4,
    acceptance: float = 0.9,
    warm_up: int = 200,
) -> Evidence:
    """log p(x) of every point as the paper would have reported it: x (B, D), weights of M models.

    draws: posterior draws to fit the kernel density, and as many others to average over. Heavy tails are reported
    and not refused, since the paper did not look at them.

    Raises UserError when N_z > 4.
    """

    def estimate(x: Tensor) -> Evidence:
        half = CHAINS // 2
        kept = posterior.draw(model, params, x, generators, -(-draws // half), leapfrogs, acceptance, warm_up)
        fit = kept.z[:, :half].flatten(0, 1)[:draws]
        z, log_joint = kept.z[:, half:], kept.log_joint[:, half:]
        log_q, degenerate = kernel_density(fit, z.flatten(0, 1))
        result = diagnostics.of_mean(log_q.unflatten(0, z.shape[:2]) - log_joint, -1)
        refusal = torch.where(result.refusal == Refusal.HEAVY_TAIL, Refusal.NONE, result.refusal)
        refusal = torch.where(degenerate & _has_density(kept), Refusal.STUCK, refusal)
        return _with_chains(result._replace(refusal=refusal), kept)

    return in_chunks(x, CHUNK // len(generators), estimate)


def cross_fitted(kept: Draws, generators: list[torch.Generator]) -> Evidence:
    """Each half of the chains evaluates the mixture fitted to the other half's draws.

    Either average has the expectation 1/p(x), so their mean has it too. Its error is counted as that of one of
    them, as if they were wholly correlated: where both halves have too many draws both averages are too large. The
    correlation of the two was 0.4 where it was measured (PPCA), by which the error is a fifth too large.
    """
    half = CHAINS // 2
    first, second = slice(None, half), slice(half, None)
    log_w = []
    for fitted, evaluated in ((second, first), (first, second)):
        q = mixture.fit(kept.z[:, fitted].flatten(0, 1), COMPONENTS, generators).scaled(SHRINKAGE)
        log_q = q.log_prob(kept.z[:, evaluated].flatten(0, 1)).unflatten(0, (-1, half))
        log_w.append(log_q - kept.log_joint[:, evaluated])
    errors = [diagnostics.of_mean(one, -1).std_error.square() for one in log_w]
    result = diagnostics.of_mean(torch.cat(log_w, 1), -1)
    result = _with_chains(result._replace(std_error=torch.stack(errors).mean(0).sqrt()), kept)
    unmixed = (result.r_hat > diagnostics.MAX_R_HAT) & ~result.refused
    return result._replace(refusal=torch.where(unmixed, Refusal.UNMIXED, result.refusal))


def _with_chains(result: Evidence, kept: Draws) -> Evidence:
    """Add what the chains say of themselves: their agreement, their acceptance, whether each of them moved."""
    stuck = (kept.z[1:] == kept.z[:-1]).all(-1).all(0).any(0) & _has_density(kept)
    return result._replace(
        acceptance=kept.acceptance,
        r_hat=diagnostics.split_r_hat(kept.z),
        refusal=torch.where(stuck, Refusal.STUCK, result.refusal),
    )


def _has_density(kept: Draws) -> Tensor:
    """Where there is a density to move on (M, B): weights that are no numbers, as after a divergence, give none."""
    return torch.isfinite(kept.log_joint).flatten(0, 1).any(0)


def kernel_density(fit: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z) (L', M, B) of a Gaussian kernel density on `fit`, and where it is degenerate (M, B).

    The bandwidth is chosen on held-out draws: kernels on the first half of `fit`, scored on the second.
    """
    half = len(fit) // 2
    factors = torch.exp((torch.arange(10, dtype=fit.dtype, device=fit.device) - 5) / 2)
    scores = torch.stack([_log_density(fit[:half], fit[half:], factor)[0].sum(0) for factor in factors])
    best = factors[scores.nan_to_num(nan=-torch.inf).argmax(0)]
    return _log_density(fit, z, best)


def _log_density(centres: Tensor, z: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels with the covariance of the centres times (Scott's factor * factor)^2, as scipy's gaussian_kde."""
    n, d = centres.shape[0], centres.shape[-1]
    centred = centres - centres.mean(0)
    covariance = torch.einsum("smbi,smbj->mbij", centred, centred) / (n - 1)
    root, info = torch.linalg.cholesky_ex(covariance)
    degenerate = info > 0  # torch.linalg.inv would raise for the whole batch
    root = torch.where(degenerate[..., None, None], torch.eye(d, dtype=root.dtype, device=root.device), root)
    width = factor * n ** (-1 / (d + 4))
    whiten = torch.linalg.inv(root) / torch.as_tensor(width)[..., None, None]
    a = torch.einsum("mbij,smbj->smbi", whiten, z)
    b = torch.einsum("mbij,smbj->smbi", whiten, centres)
    squared = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
    log_volume = -torch.logdet(whiten) + 0.5 * d * math.log(2 * math.pi)
    return torch.logsumexp(-0.5 * squared, 1) - math.log(n) - log_volume, degenerate
