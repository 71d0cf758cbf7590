"""Jobs that keep runs in the repository, and show in the README what is kept. Files in, files out."""

from pathlib import Path

import pandas as pd

from aevb import (
    UserError,
    closeness,
    distances,
    drawing,
    end_values,
    figures,
    kept,
    markdown,
    paper_comparison,
    reach,
)
from aevb.curves import select
from aevb.experiments import Cell
from aevb.files import read_tables, write_bytes, write_table, write_text
from aevb.jobs.collect import read_runs


def keep(runs: list[Path], marginal: list[Path], pictures: list[Path], references: Path, shown: Path) -> None:
    """Add runs, given by their cell.json, to those in references/kept, and say of each what became of it.

    marginal: evidence.csv of cells of Figure 3. pictures: Figures 4 and 5 of these runs, which are shown from now on,
    unless a run that is kept is longer than the given one.
    """
    cells, curves = read_runs(runs)
    for path, cell in zip(runs, cells, strict=True):
        _require(path, {"cell", "versions"} - cell.keys(), "a cell.json of `python -m aevb train`")
    for path in marginal:
        _require(
            path, {*kept.ESTIMATE, "log_likelihood", "n_points"} - {*read_tables([path])}, "an evidence.csv"
        )
    likelihoods = read_tables(marginal) if marginal else kept.NOTHING.likelihoods
    new = kept.collect(cells, pd.concat(curves, ignore_index=True), likelihoods)
    old = kept.read(references / "kept")
    chosen = kept.taken(old, new)
    both = kept.merged(old, chosen)
    kept.write(references / "kept", both)
    lengths = dict(zip(_names(old), old.runs["samples"], strict=True))
    added = set(_names(chosen))
    for path, name in zip(runs, _names(new), strict=True):
        before = f"the kept one of {lengths[name]} samples" if name in lengths else ""
        fate = ("takes the place of " if before else "added") if name in added else "left for "
        print(f"{path.parent}: {fate}{before}")
    if all(
        length >= lengths.get(name, 0) for name, length in zip(_names(new), new.runs["samples"], strict=True)
    ):
        for picture in pictures:
            write_bytes(shown / picture.name, picture.read_bytes())
    for curve, rows in kept.no_longer_shown(old, both).groupby(kept.CURVE):
        points = ", ".join(map(str, rows["samples"]))
        print(
            f"not shown any more, since a seed that got so far has no value there: {'/'.join(map(str, curve))} at "
            f"{points}"
        )
    print(f"{len(both.runs)} runs are kept, before {len(old.runs)}")


def _names(runs: kept.Kept) -> list[tuple[object, ...]]:
    return list(runs.runs[kept.RUN].itertuples(index=False, name=None))


def readme(
    paper: Path,
    figure2: list[Cell],
    figure3: list[Cell],
    references: Path,
    readme: Path,
    curves: Path,
    shown: Path,
    drawn: Path,
) -> None:
    """Put the kept runs beside the paper: how close they are into the pages `readme` and `curves`, Figures 2 and 3
    and the distances into `shown`, every report point into `references`, where reasons.csv says why a curve is far
    from the paper's. drawn: a folder for the figures.

    Raises UserError when nothing is kept, there are no reasons, or a page has no place for its tables.
    """
    bounds, likelihoods, runs = kept.read(references / "kept")
    theirs = pd.read_csv(paper)
    bounds, likelihoods = select(bounds, figure2), select(likelihoods, figure3)
    comparison = paper_comparison.table(bounds, likelihoods, theirs)
    if comparison.empty:
        raise UserError(
            f"No run in {references / 'kept'} is of the paper's figures: train some and keep them first."
        )
    reasons = _reasons(references / "reasons.csv")
    costs = pd.concat([select(runs, cells).assign(figure=n) for n, cells in ((2, figure2), (3, figure3))])
    blocks = {
        readme: {
            "in-short": f"{closeness.in_short(comparison)}\n\n{end_values.effort(costs)}",
            "how-far": reach.table(reach.shown(bounds, likelihoods), theirs),
            "curve-by-curve": closeness.curve_by_curve(comparison, reasons),
        },
        curves: {"paper-comparison": end_values.block(comparison, costs)},
    }
    pages = {page: markdown.filled(page.read_text(encoding="utf-8"), texts) for page, texts in blocks.items()}
    pictures = {"figure2": figures.figure2(bounds, theirs), "distances": distances.distances(comparison)}
    if len(likelihoods):
        pictures["figure3"] = figures.figure3(likelihoods, theirs)
    for name, figure in pictures.items():
        drawing.save(figure, drawn / name)
    write_table(references / "paper_comparison.csv", comparison)
    for name in pictures:
        write_bytes(shown / f"{name}.png", (drawn / f"{name}.png").read_bytes())
    for page, text in pages.items():
        write_text(page, text)


def _require(path: Path, missing: set[str], kind: str) -> None:
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: it is not {kind}.")


def _reasons(path: Path) -> pd.DataFrame:
    """Raises UserError where there is no such file or a column is missing."""
    try:
        return pd.read_csv(path, keep_default_na=False)[[*closeness.PANEL, "why"]]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: {error}. Take the committed one again.") from None
