"""Estimators of the marginal likelihood log p(x), and their parts. They see weights and data, never the method.

The files that `experiments.EVIDENCE` names are estimators: `evidence(model, params, x, generators, **settings) ->
Evidence` and a DIRECTION, the side on which its expectation lies: `lower` (Jensen: a mean of p(x, z)/q(z)), `upper`
(a mean of the reciprocals) or `exact`. The others are what these share.
"""

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Refusal(IntEnum):
    """Why an estimate is not to be trusted as the value of log p(x)."""

    NONE = 0
    NOT_FINITE = 1
    STUCK = 2
    HEAVY_TAIL = 3
    UNMIXED = 4
    UNCONVERGED = 5
    BOUND = 6
    NO_ENCODER = 7
    SPREAD = 8


REASONS = {
    Refusal.NOT_FINITE: "a density is zero, infinite or not a number",
    Refusal.STUCK: "a chain never moved",
    Refusal.HEAVY_TAIL: "Pareto k-hat above 0.7: the weights may have no finite variance",
    Refusal.UNMIXED: "split R-hat above 1.1: the chains disagree",
    Refusal.UNCONVERGED: "halving the grid's spacing still changes the integral",
    Refusal.BOUND: "a bound, and no estimate",
    Refusal.NO_ENCODER: "the method has no encoder",
    Refusal.SPREAD: "the chains' log weights spread by more than a nat: a bound, and no estimate",
}


class Evidence(NamedTuple):
    """log p(x) for each of M models and B points, every field (M, B).

    estimate is in nats, whether to be trusted or not; std_error its Monte Carlo error, autocorrelation included.
    Of the weights averaged: ess is their effective number, largest_share the largest one's part of their sum,
    log_range the range of their logarithms, k_hat the shape of their tail (Vehtari et al. 2024), the variance being
    finite below 0.5; a mean is refused above 0.7, and std_error is smaller than the true error from 0.5 on and where
    a mean is refused. acceptance is that of HMC, r_hat the largest split R-hat of a coordinate. Diagnostics that an
    estimator does not have are NaN. refusal holds a `Refusal`.
    """

    estimate: Tensor
    std_error: Tensor
    ess: Tensor
    largest_share: Tensor
    log_range: Tensor
    k_hat: Tensor
    acceptance: Tensor
    r_hat: Tensor
    refusal: Tensor

    @property
    def refused(self) -> Tensor:
        return self.refusal != Refusal.NONE

    @property
    def log_prob(self) -> Tensor:
        """The estimates that are to be trusted, NaN in place of the others."""
        return self.estimate.masked_fill(self.refused, torch.nan)

    @classmethod
    def refuse(cls, n_models: int, x: Tensor, refusal: Refusal) -> "Evidence":
        """No estimate for any of the points x (B, D)."""
        unknown = torch.full((n_models, len(x)), torch.nan, dtype=torch.float64, device=x.device)
        fields = dict.fromkeys(cls._fields, unknown)
        return cls(**(fields | {"refusal": torch.full_like(unknown, refusal)}))

    def summary(self, m: int, direction: str) -> dict[str, Any]:
        """Model m over its B points, the columns of marginal_likelihood.csv.

        A refused point makes log_likelihood empty, and `refusal` says why: the mean over the others would be that of
        easier data. lower_bound is the mean over all points where the direction is `lower`, since in expectation
        such an estimate is a bound whatever its variance.
        std_error is the Monte Carlo error of the mean over these points, std_error_points its error as an
        estimate for the population they were drawn from (Monte Carlo error included).
        """
        n = self.estimate.shape[1]
        trusted = not self.refused[m].any()
        return {
            "log_likelihood": self.log_prob[m].mean().item(),
            "lower_bound": self.estimate[m].mean().item() if direction == "lower" else math.nan,
            "std_error": self.std_error[m].square().sum().sqrt().item() / n,
            "std_error_points": self.estimate[m].std().item() / math.sqrt(n) if n > 1 else math.nan,
            "n_points": n,
            "n_refused": int(self.refused[m].sum()),
            "refusal": "" if trusted else self._refusals(m),
            "ess": self.ess[m].mean().item(),
            "largest_weight_share": self.largest_share[m].max().item(),
            "log_weight_range": self.log_range[m].max().item(),
            "k_hat": self.k_hat[m].max().item(),
            "acceptance": self.acceptance[m].mean().item(),
            "r_hat": self.r_hat[m].max().item(),
        }

    def _refusals(self, m: int) -> str:
        codes, counts = self.refusal[m].unique(return_counts=True)
        n = self.refusal.shape[1]
        pairs = zip(codes.tolist(), counts.tolist(), strict=True)
        return "; ".join(f"{count} of {n} points: {REASONS[Refusal(code)]}" for code, count in pairs if code)


def in_chunks(x: Tensor, size: int, estimate: Callable[[Tensor], Evidence]) -> Evidence:
    """`estimate` of `size` points x (B, D) at a time, which bounds its memory."""
    parts = [estimate(some) for some in x.split(max(1, size))]
    return Evidence(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))
