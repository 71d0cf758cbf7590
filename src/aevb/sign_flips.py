"""What the signs of paired differences say of their centre: p-values (Fisher 1935) and an interval (Hartigan 1969).

If differences lie symmetrically about zero, each is as likely with the other sign. Flipping a subset leaves their
mean at least as large just where the subset's mean is at most zero; so the means of all subsets hold every answer. It
is exact up to 16 differences, whatever their noise; above, random subsets stand for all.
"""

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

EXACT = 2**16  # subsets up to which all are enumerated
OUTSIDE = 0.05  # share of centres that the interval leaves out


def p_value(differences: Values) -> float:
    """Two-sided, of the mean of differences (n,) being zero."""
    return min(1.0, 2 * min(p_low(differences), p_low(-differences)))


def p_low(differences: Values) -> float:
    """One-sided, of the mean of differences (n,) being that low."""
    means = _subset_means(differences)
    tie = 1e-12 * np.abs(differences).max()
    return float((1 + (means >= -tie).sum()) / (len(means) + 1))  # 1: the pattern that flips nothing


def interval(differences: Values) -> tuple[float, float]:
    """The ends of the centres that `p_value`, taken about them, does not put at 0.05 or below; NaN where it puts none
    there: of fewer than six differences."""
    means = np.sort(_subset_means(differences))
    outside = int(OUTSIDE / 2 * (len(means) + 1))
    return (float(means[outside - 1]), float(means[-outside])) if outside else (math.nan, math.nan)


def _subset_means(values: Values) -> Values:
    """The mean of every subset of values (n,) but the empty one; above 16 of them, of EXACT - 1 random subsets."""
    n = len(values)
    if 2**n <= EXACT:
        chosen = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
    else:
        chosen = np.random.default_rng(0).integers(0, 2, size=(EXACT - 1, n))
        chosen = chosen[chosen.any(1)]
    means: Values = chosen @ values / chosen.sum(1)
    return means
