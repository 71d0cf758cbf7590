"""end_values.py: the table of all end values; and the pages show nothing that is not committed."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from aevb import config, end_values, jobs
from test_closeness import rows

ROOT = Path(__file__).parents[1]


def costs(seeds=1, **changes):
    cell = {
        "figure": 2,
        "dataset": "mnist",
        "estimator": "aevb",
        "n_hidden": 500,
        "n_latent": 3,
        "n_train": 50_000,
    }
    runs = [
        {"seed": seed, "samples": 2_000_000, "seconds": 180.0, "joules": None, "device": "cpu", "threads": 1}
        for seed in range(seeds)
    ]
    return pd.DataFrame([cell | run | changes for run in runs])


def lines(comparison, cost=None):
    return end_values.table(comparison, costs() if cost is None else cost).splitlines()


def test_a_line_is_at_the_last_point_common_to_train_and_test():
    comparison = pd.concat(
        [rows(10**6, -155.1, -155.3, "train"), rows(2 * 10**6, -149.0, split="train"), rows(10**6, -149.4)]
    )
    header, _, line = lines(comparison)
    assert line == (
        "| 2 | MNIST, N_z = 3 | AEVB | 1 M | 1 | -155.3 | -155.1 [-156.1, -154.1] | +0.2 "
        "| -150.0 | -149.4 [-150.4, -148.4] | +0.6 | 1.5 |"
    )
    assert header.count("|") == line.count("|")


def test_a_single_split_is_shown_alone_and_one_seed_without_an_interval():
    [line] = lines(rows(10**6, -149.4, ci_low=np.nan, ci_high=np.nan))[2:]
    assert "| 1 M | 1 | – | – | – | -150.0 | -149.4 | +0.6 |" in line


def test_where_fewer_seeds_went_further_both_ends_are_shown():
    three = pd.concat([rows(10**6, -149.4, n_seeds=3), rows(2 * 10**6, -148.0, n_seeds=3)])
    one = pd.concat([rows(4 * 10**6, -145.0), rows(8 * 10**6, -140.0, ci_low=np.nan, ci_high=np.nan)])
    _, _, *found = lines(pd.concat([three, one]))
    assert ["| 2 M | 3 |" in found[0], "| 8 M | 1 |" in found[1], len(found)] == [True, True, 2]


def test_what_diverged_or_was_refused_has_no_value():
    [line] = lines(rows(10**6, np.nan))[2:]
    assert "| -150.0 | none | – |" in line


def test_no_runs_give_a_table_without_lines():
    assert len(lines(rows(10**6, -150.0).iloc[:0], costs().iloc[:0])) == 2


def test_minutes_per_million_are_those_of_the_figures_own_cell():
    # one cell of Figure 2 and one of Figure 3 have the same data, method, N_z and N_train: their widths differ
    both = pd.concat([costs(), costs(figure=3, n_hidden=100, seconds=60.0)])
    comparison = pd.concat([rows(10**6, -150.0), rows(10**6, -150.0, figure=3)])
    assert [line.split(" | ")[-1] for line in lines(comparison, both)[2:]] == ["1.5 |", "0.5 |"]


def test_kilojoules_per_million_are_those_of_metered_runs_and_stand_where_there_are_any():
    metered = costs().assign(joules=9e3)
    both = pd.concat([metered, costs(seeds=1).assign(seed=1), costs(n_latent=5)])
    comparison = pd.concat([rows(10**6, -150.0), rows(10**6, -150.0, n_latent=5)])
    header, rule, *table = lines(comparison, both)
    assert header.endswith(" | min/M | kJ/M |")
    assert rule.count("|") == header.count("|")
    assert [line.split(" | ")[-1] for line in table] == ["4.5 |", "– |"]
    assert end_values.KILOJOULES in end_values.block(comparison, both)
    assert "kJ/M" not in end_values.block(rows(10**6, -150.0), costs())


def test_the_block_names_hours_and_devices():
    comparison = rows(10**6, -153.0)
    block = end_values.block(comparison, costs(seconds=7200.0))
    note, table = block.split("\n\n")  # Markdown wants an empty line before a table
    assert table == end_values.table(comparison, costs(seconds=7200.0))
    assert note.startswith(end_values.effort(costs(seconds=7200.0)))
    assert "|" not in note
    others = costs(n_latent=5, device="cuda", threads=2)
    mixed = pd.concat([comparison, rows(10**6, -153.0, n_latent=5)])
    many = end_values.block(mixed, pd.concat([costs(5), others]))
    assert "on cpu (1 thread a run) and cuda (2 threads a run)" in many


def test_the_effort_counts_all_runs_and_the_minutes_of_figure_2s_cheapest_and_dearest_curve():
    runs = [costs(seconds=3600.0), costs(seconds=3720.0).assign(seed=1), costs(n_latent=5)]
    assert end_values.effort(pd.concat([*runs, costs(figure=3, seconds=36.0)])) == (
        "4 runs, 2.1 hours of training in all on cpu (1 thread a run). "
        "In Figure 2 1.5 to 30 minutes for a million samples, by curve (the paper: 20 to 40)."
    )
    assert end_values.effort(costs(figure=3, seconds=3600.0)) == (
        "1 runs, 1.0 hours of training in all on cpu (1 thread a run)."
    )


def test_the_pages_show_the_kept_runs_and_nothing_else(tmp_path):
    # their numbers come from results/reference/kept by `snakemake readme`
    pages = {"readme": ROOT / "README.md", "curves": ROOT / "docs/curves.md"}
    experiments = config.read(ROOT / "config.yaml")
    shutil.copytree(ROOT / "results/reference/kept", tmp_path / "kept")
    shutil.copy(ROOT / "results/reference/reasons.csv", tmp_path)
    for page in pages.values():
        shutil.copy(page, tmp_path)
    jobs.load("readme")(
        paper=ROOT / "results/reference/paper.csv",
        figure2=experiments.cells("figure2"),
        figure3=experiments.cells("figure3"),
        references=tmp_path,
        **{name: tmp_path / page.name for name, page in pages.items()},
        shown=tmp_path / "shown",
        drawn=tmp_path / "drawn",
    )
    for page in pages.values():
        assert (tmp_path / page.name).read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    written = (tmp_path / "paper_comparison.csv").read_text()
    assert written == (ROOT / "results/reference/paper_comparison.csv").read_text()
    for name in ("figure2", "figure3", "distances"):
        assert (tmp_path / f"shown/{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in ("distances", "figure2", "figure3", "figure4", "figure5"):
        assert f"(docs/figures/{name}.png)" in pages["readme"].read_text(encoding="utf-8")
        assert (ROOT / f"docs/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
