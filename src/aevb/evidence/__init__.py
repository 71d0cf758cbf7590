"""Estimators of the marginal likelihood log p(x), one file each. They see weights and data, never the method."""

import math
from typing import Any, NamedTuple

from torch import Tensor


class Evidence(NamedTuple):
    """log p(x) for each of M models and B points, every field (M, B).

    log_prob is in nats and NaN where `refused`; std_error is its Monte Carlo error; ess the effective number
    of the weights averaged, largest_share the largest weight's part of their sum, acceptance that of HMC.
    """

    log_prob: Tensor
    std_error: Tensor
    acceptance: Tensor
    ess: Tensor
    largest_share: Tensor
    refused: Tensor

    def summary(self, m: int) -> dict[str, Any]:
        """Model m over its B points, the columns of marginal_likelihood.csv.

        A refused point makes the mean empty: the mean over the others would be that of easier data.
        std_error is the Monte Carlo error of the mean over these points, std_error_points its error as an
        estimate for the population they were drawn from (Monte Carlo error included).
        """
        n = self.log_prob.shape[1]
        n_refused = int(self.refused[m].sum())
        return {
            "log_likelihood": self.log_prob[m].mean().item(),
            "std_error": self.std_error[m].square().sum().sqrt().item() / n,
            "std_error_points": self.log_prob[m].std().item() / math.sqrt(n),
            "n_points": n,
            "n_refused": n_refused,
            "acceptance": self.acceptance[m].mean().item(),
            "ess": self.ess[m].mean().item(),
            "largest_weight_share": self.largest_share[m].max().item(),
        }
