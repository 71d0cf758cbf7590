"""The estimators of log p(x) against exact answers, as the README shows them.

    python studies/certified.py --page results/reference/certification_laptop.csv README.md

The table is `results/tables/certification.csv` of `snakemake certify`; this only sets down its lines on all decoders
together: held-out test points, of which quadrature knows log p(x).
"""

import sys

import pandas as pd

import pages
from aevb import markdown
from aevb.experiments import AS_PUBLISHED

NAMES = {
    "appendix_d_robust": "Appendix D, robust",
    AS_PUBLISHED: "Appendix D with the paper's kernel density, on chains of the same kind",
    "annealed": "annealed importance sampling",
    "importance": "importance sampling (IWAE-5000)",
}
HEAD = ["estimator", "mean error, 95 % interval", "error of one point", "as reported", "points it refused"]


def page(table: pd.DataFrame) -> str:
    """A line an estimator, in nats per data point; errors of one point are root mean squares."""
    rows = table[table["problem"] == "all decoders"].set_index("evidence_estimator")
    lines = []
    for estimator, name in NAMES.items():
        row = rows.loc[estimator]
        bias, low, high = (f"{row[value]:+.3f}" for value in ("bias", "ci_low", "ci_high"))
        errors = [f"{row[value]:.2g}" for value in ("rms_error", "claimed_error")]
        refused = f"{row['n_refused']:.0f} of {row['n_points']:.0f}"
        judged = refused if estimator != AS_PUBLISHED else "not judged"
        lines.append([name, f"{bias} [{low}, {high}]", *errors, judged])
    return markdown.table(HEAD, "llrrr", lines)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--page"]:
        raise SystemExit(__doc__)
    pages.show("certified", page, *sys.argv[2:])
