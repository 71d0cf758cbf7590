"""The comparison of estimators, as the README shows it.

    python studies/rivals.py --page results/reference/comparison_laptop.csv README.md

The table is `results/tables/comparison.csv` of `snakemake compare`; this only sets it down, a line a data set and
rival: the bound, the certified log p(x) and the gap between them less the baseline's, with their intervals and, of
what is tested, verdicts.
"""

import sys

import pandas as pd

import pages
from aevb import curves, markdown
from aevb.comparison import CELL
from aevb.datasets import dataset_name

SHOWN = {"bound": "lower bound", "log_likelihood": "certified log p(x)", "gap": "gap"}


def page(table: pd.DataFrame) -> str:
    """A line a data set and rival; bold: judged better or worse."""
    [baseline] = table["baseline"].unique()
    less = [f"{name} less {curves.method_name(baseline)}'s" for name in SHOWN.values()]
    lines = []
    for (*cell, estimator), rows in table.groupby([*CELL, "estimator"], sort=False):
        by_metric = rows.set_index("metric")
        known = dict(zip(CELL, cell, strict=True))
        names = [dataset_name(known["dataset"]), f"`{estimator}`"]
        found = [_difference(by_metric.loc[name]) for name in SHOWN]
        lines.append([*names, f"{rows['step_size'].iloc[0]:g}", *found])
    return markdown.table(["data set", "estimator", "step size", *less], "llr" + "r" * len(less), lines)


def _difference(row: pd.Series) -> str:
    """A difference with its interval, bold with its verdict where there is one; else why there is none."""
    if pd.isna(row["difference"]):
        return str(row["verdict"])
    interval = f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]" if pd.notna(row["ci_low"]) else ""
    words = f"{row['difference']:+.1f}{interval}"
    return f"**{words} {row['verdict']}**" if row["verdict"] in ("better", "worse") else words


if __name__ == "__main__":
    if sys.argv[1:2] != ["--page"]:
        raise SystemExit(__doc__)
    pages.show("rivals", page, *sys.argv[2:])
