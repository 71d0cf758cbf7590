"""Jobs that keep runs in the repository, and show in the README what is kept. Files in, files out."""

from pathlib import Path

import pandas as pd

from aevb import drawing, figures, kept, markdown, tables
from aevb.curves import select
from aevb.experiments import Cell
from aevb.files import write_bytes, write_table, write_text
from aevb.jobs.collect import read_runs


def keep(runs: list[Path], marginal: list[Path], pictures: list[Path], references: Path, shown: Path) -> None:
    """Add runs, given by their cell.json, to those in references/kept, and pictures to those that are shown.

    marginal: tables of log p(x), such as a cell's evidence.csv or marginal_likelihood.csv; of Figure 3's cells each
    run that is kept needs its rows.
    """
    cells, curves = read_runs(runs)
    likelihoods = [pd.read_csv(path) for path in marginal] or [kept.NOTHING.likelihoods]
    new = kept.collect(cells, pd.concat(curves, ignore_index=True), pd.concat(likelihoods, ignore_index=True))
    old = kept.read(references / "kept")
    all_runs = kept.merged(old, new)
    kept.write(references / "kept", all_runs)
    for picture in pictures:
        write_bytes(shown / picture.name, picture.read_bytes())
    print(f"{len(all_runs.runs)} runs are kept, before {len(old.runs)}; {len(new.runs)} were given")


def readme(
    paper: Path,
    figure2: list[Cell],
    figure3: list[Cell],
    references: Path,
    readme: Path,
    shown: Path,
    drawn: Path,
    output: Path,
) -> None:
    """Put the kept runs beside the paper: the table into the README, Figure 2 into `shown`, every report point into
    `references`. drawn: where Figure 2 is drawn, without a suffix."""
    runs, bounds, likelihoods = kept.read(references / "kept")
    theirs = pd.read_csv(paper)
    bounds = select(bounds, figure2)
    comparison = tables.paper_comparison(bounds, select(likelihoods, figure3), theirs)
    costs = pd.concat([select(runs, cells).assign(figure=n) for n, cells in ((2, figure2), (3, figure3))])
    block = markdown.readme_block(comparison, costs)
    page = markdown.insert_between_markers(readme.read_text(encoding="utf-8"), "paper-comparison", block)
    drawing.save(figures.figure2(bounds, theirs), drawn)
    write_table(references / "paper_comparison.csv", comparison)
    write_bytes(shown / "figure2.png", drawn.with_suffix(".png").read_bytes())
    write_text(readme, page)
    write_text(output, block)
