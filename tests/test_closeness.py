"""How close ours are to the paper's: what is far is bold and has a reason, and a curve is read where it says."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aevb import closeness, paper_comparison

ROOT = Path(__file__).parents[1]
IDENTITY = {"figure": 2, "dataset": "mnist", "method": "aevb", "n_latent": 3, "n_train": 50_000}


def rows(samples, ours, paper=-150.0, split="test", **changes):
    """Rows of paper_comparison, with an interval of +-1 around ours."""
    row = IDENTITY | {
        "split": split,
        "samples": samples,
        "paper": paper,
        "ours": ours,
        "difference": ours - paper,
    }
    more = {"ci_low": ours - 1, "ci_high": ours + 1, "n_seeds": 1}
    return pd.DataFrame([row | more | changes])[[*paper_comparison.COMPARISON, "n_seeds"]]


NO_REASONS = pd.DataFrame(columns=[*closeness.PANEL, "why"])


def lines(comparison, reasons=NO_REASONS):
    """The lines of the only table."""
    _, _, table = closeness.curve_by_curve(comparison, reasons).split("\n\n")
    return table.splitlines()[2:]


def test_a_curve_has_a_line_with_its_points_and_where_it_ends():
    at = [
        (10**6, -155.1, "train"),
        (10**6, -149.4, "test"),
        (10**7, -150.5, "train"),
        (10**7, -151.2, "test"),
    ]
    comparison = pd.concat([rows(samples, ours, split=split, n_seeds=3) for samples, ours, split in at])
    [line] = lines(comparison)
    # of three seeds with an interval of +-1 for their mean: one more run lies within +-2
    assert line == "| AEVB | 3 | **-5.1** ± 2.0 / +0.6 ± 2.0 | -0.5 ± 2.0 / **-1.2** ± 2.0 |  |  |"
    further = pd.concat([comparison, rows(5 * 10**7, -149.0)])
    further = pd.concat([further, rows(5 * 10**7, -150.1, split="train")])
    [line] = lines(further)
    assert line.endswith("| -0.1 / +1.0 at 50 M |  |")  # one seed has no interval


def test_a_report_a_little_behind_a_point_stands_for_it_and_one_further_away_does_not():
    near = rows(4_500_000, -150.0, figure=3, method="mcem")
    [line] = lines(near)
    assert line.startswith("| MCEM | 50000 | – | – / +0.0 | – |")
    far = rows(5_000_000, -150.0, figure=3, method="mcem")
    assert lines(far)[0].startswith("| MCEM | 50000 | – | – | – |")


def test_a_point_without_a_value_is_a_dash():
    assert "| – / – |" in lines(rows(10**6, np.nan))[0]


def test_the_end_is_the_last_point_common_to_train_and_test():
    comparison = pd.concat(
        [rows(10**6, -155.1, -155.3, "train"), rows(2 * 10**6, -149.0, split="train"), rows(10**6, -149.4)]
    )
    [end] = closeness.ends(comparison)
    assert end["samples"].tolist() == [10**6, 10**6]
    three = pd.concat([rows(10**6, -149.4, n_seeds=3), rows(2 * 10**6, -148.0, n_seeds=3)])
    one = pd.concat([rows(4 * 10**6, -145.0), rows(8 * 10**6, -140.0)])
    assert [end["samples"].item() for end in closeness.ends(pd.concat([three, one]))] == [
        2 * 10**6,
        8 * 10**6,
    ]


@pytest.mark.parametrize(
    ("difference", "dataset", "method", "bold"),
    [
        (1.1, "mnist", "aevb", True),
        (-1.1, "mnist", "wake_sleep", True),
        (1.04, "mnist", "mcem", False),  # shown as +1.0
        (0.9, "mnist", "mcem", False),
        (24.0, "frey", "aevb", False),
        (-26.0, "frey", "aevb", True),
        (5.0, "frey", "wake_sleep", False),
        (7.0, "frey", "wake_sleep", True),
    ],
)
def test_what_is_far_from_the_paper_is_bold(difference, dataset, method, bold):
    of = rows(10**6, -150.0 + difference, dataset=dataset, method=method)
    [line] = lines(of)
    assert (f"**{difference:+.1f}**" in line) == bold
    assert f"{difference:+.1f}" in line
    close = "| 0, within " if bold else "| 1, within "
    assert close in closeness.in_short(of)


def test_in_short_counts_last_values_by_kind_and_says_between_what_the_others_lie():
    found = pd.concat(
        [
            rows(10**6, -100.0),  # not its last
            *(rows(10**7, -150.0 + off, n_latent=n) for n, off in ((3, 0.5), (5, -3.0), (10, 2.0))),
            rows(10**6, -150.2, method="wake_sleep"),
            rows(10**7, 500.0, 400.0, dataset="frey"),
            rows(10**7, np.nan, n_latent=20),
        ]
    )
    assert closeness.in_short(found).splitlines()[2:] == [
        "| Figure 2, MNIST: AEVB, Wake-Sleep | 1 M to 10 M | 4 | 2, within 1 nat | -3.0 to +2.0 |",
        "| Figure 2, Frey Face: AEVB | 10 M | 1 | 0, within 25 nats | +100.0 to +100.0 |",
    ]


def test_a_reason_stands_where_its_curve_is_bold():
    both = pd.concat([rows(10**6, -140.0), rows(10**6, -150.2, n_latent=5)])
    why = pd.DataFrame([IDENTITY | {"n_latent": n, "why": f"since {n}"} for n in (3, 5)])
    bold, close = lines(both, why)
    assert ["| since 3 |" in bold, "since" in close] == [True, False]


def test_every_curve_that_is_bold_has_a_reason_and_every_reason_such_a_curve():
    reasons = pd.read_csv(ROOT / "results/reference/reasons.csv")
    assert list(reasons) == [*closeness.PANEL, "why"]
    assert not reasons.duplicated(closeness.PANEL).any()
    comparison = pd.read_csv(ROOT / "results/reference/paper_comparison.csv")
    bold = {
        panel
        for panel, at in comparison.groupby(closeness.PANEL)
        if closeness.BOLD in "".join(lines(at, NO_REASONS))
    }
    assert set(reasons[closeness.PANEL].itertuples(index=False, name=None)) == bold


def test_every_link_to_a_section_of_the_deviations_is_one():
    titles = re.findall(r"^#+ (.*)$", (ROOT / "docs/deviations.md").read_text(encoding="utf-8"), re.M)
    known = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "results/reference/reasons.csv"]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    linked = {anchor for text in texts.values() for anchor in re.findall(r"deviations\.md#([\w-]+)", text)}
    linked |= set(re.findall(r"\]\(#([\w-]+)\)", texts[ROOT / "docs/deviations.md"]))
    assert len(linked) > 15
    assert linked <= known
