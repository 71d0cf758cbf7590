"""When a run reports: log-spaced counts of training samples, the same at every scale.

A shorter curve is therefore the prefix of a longer one, and any two runs can be compared at the largest report point
that both have reached.
"""

import math

PREFERRED = (1.0, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)  # Renard's preferred numbers: ten a decade
BLOCK = 10_000  # samples between two points at which a run can report, stop and resume
FIRST_SNAPSHOT = 100_000


def report_points(budget: int) -> tuple[int, ...]:
    """PREFERRED x 10^k, rounded to multiples of BLOCK, up to the budget."""
    decades = range(int(math.log10(BLOCK)), int(math.log10(max(budget, BLOCK))) + 1)
    points = {round(p * 10**k / BLOCK) * BLOCK for k in decades for p in PREFERRED}
    return tuple(sorted(point for point in points if point <= budget))


def snapshot_points(budget: int) -> tuple[int, ...]:
    """Report points at which the weights are kept for evidence: those from 1e5 on, and always the last."""
    points = report_points(budget)
    return tuple(point for point in points if point >= FIRST_SNAPSHOT or point == points[-1])
