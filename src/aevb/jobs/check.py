"""Jobs of the gate: measure cells, and judge them beside the references. Files in, files out."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import TypeAdapter

from aevb import UserError, builds, claims, gate, markdown, models, paper_comparison, references, regression
from aevb import nights as simulation
from aevb.experiments import STAGES, Cell, CheckJob, Job, path_of
from aevb.files import write_table, write_text
from aevb.jobs.compute import choose_device, kept_weights, trained, unit_points
from aevb.jobs.evidence import estimator
from aevb.references import SPLITS, Batch, Seed
from aevb.stack import Run
from aevb.streams import stream
from aevb.training import Trainer

DECIMALS = 4  # of a nat, in references and in what is held against them
BATCHES = TypeAdapter(list[Batch])


def measure(
    job: CheckJob, points: Path, step_sizes: Path, store_root: Path, output: Path, device: str, threads: int
) -> None:
    """As many seeds of a cell as a reference needs."""
    where = choose_device(device, threads)
    ends = [end for end in STAGES if end < job.reference_seeds]
    stacks = _stacks((*ends, job.reference_seeds))
    batches = [_measured(job, seeds, points, step_sizes, store_root, where) for seeds in stacks]
    write_batches(output, batches)


def check(
    job: CheckJob,
    known: list[Path],
    points: Path,
    step_sizes: Path,
    store_root: Path,
    seeds: Path,
    output: Path,
    device: str,
    threads: int,
) -> None:
    """Judge a cell beside its reference, with more seeds for as long as a stage leaves something open.

    known: the files of the references. Written are the seeds and the rows of regression.csv.
    """
    where = choose_device(device, threads)
    reference, tests = references.tested(
        [references.read(path) for path in known],
        job.cell.path,
        job.samples,
        job.evidence is not None,
        job.scale,
    )
    if reference is None:
        raise UserError(f"No reference has {job.cell.path}: snakemake bless makes one.")
    batches: list[Batch] = []
    rows: dict[references.Number, dict[str, Any]] = {}
    still_open = tests
    for stack in _stacks(STAGES):
        batches.append(_measured(job, stack, points, step_sizes, store_root, where))
        rows |= {test: gate.row(test, batches, reference, job.n_tests) for test in still_open}
        still_open = [test for test in still_open if rows[test]["verdict"] == regression.OPEN]
        if not still_open:
            break
    write_batches(seeds, batches)
    write_table(output, pd.DataFrame(rows.values(), columns=gate.COLUMNS))


def _stacks(ends: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The seeds that train side by side: a stage's own, for a reference as for a check."""
    return [tuple(range(start, end)) for start, end in itertools.pairwise((0, *ends))]


def _measured(
    job: CheckJob,
    seeds: tuple[int, ...],
    points: Path,
    step_sizes: Path,
    store_root: Path,
    device: torch.device,
) -> Batch:
    """Train some seeds of a cell and keep what the gate compares: bounds, and log p(x) at the end."""
    stack = Job(cell=job.cell, seeds=seeds, samples=job.samples, snapshots=job.snapshots)
    trainer, runs = trained(stack, points, step_sizes, store_root, device)
    likelihoods = _likelihoods(job, trainer, runs)
    took_part = [build for run in runs for build in run.trace.builds]
    return Batch(
        cell=job.cell,
        step_size=runs[0].member.step_size,
        data=trainer.data.digest,
        numerics=trainer.numerics,
        evidence=job.evidence,
        points=job.points,
        device=device.type,
        threads=took_part[-1]["threads"],
        versions=builds.versions(took_part),
        seeds=tuple(
            _seed(run, job.samples, *likelihood) for run, likelihood in zip(runs, likelihoods, strict=True)
        ),
    )


def _seed(run: Run, samples: int, log_likelihood: float | None, n_refused: int) -> Seed:
    reached = kept_weights(run.store, samples).meta["samples"]  # large steps end beyond the report point
    rows = [row for row in run.trace.rows if row["samples"] <= reached]
    return Seed(
        seed=run.member.seed,
        samples=samples,
        diverged=run.trace.lost_by(reached),
        curves={
            split: tuple((row["samples"], _number(row["bound"])) for row in rows if row["split"] == split)
            for split in SPLITS
            if any(row["split"] == split for row in rows)
        },
        log_likelihood=log_likelihood,
        n_refused=n_refused,
    )


def _number(value: float) -> float | None:
    return round(value, DECIMALS) if abs(value) < float("inf") else None


def _likelihoods(job: CheckJob, trainer: Trainer, runs: list[Run]) -> list[tuple[float | None, int]]:
    """Of each run: the mean estimate over the first test points, and at how many of them it is refused."""
    if job.evidence is None:
        return [(None, 0)] * len(runs)
    records = [kept_weights(run.store, job.samples) for run in runs]
    params = models.stack_weights([record.tensors for record in records], trainer.device)
    x = unit_points(trainer.data.test[: job.points], trainer.data, trainer.device)
    purpose = f"{job.evidence.name}-test"
    samples = records[0].meta["samples"]
    generators = [stream(trainer.device, run.member.seed, purpose, samples) for run in runs]
    result = estimator(job.evidence.name)(trainer.model, params, x, generators, **job.evidence.settings)
    means, refused = result.estimate.mean(1).tolist(), result.refused.sum(1).tolist()
    return [(_number(mean), count) for mean, count in zip(means, refused, strict=True)]


def write_batches(path: Path, batches: list[Batch]) -> None:
    write_text(path, BATCHES.dump_json(batches, indent=1).decode())


def read_batches(paths: list[Path]) -> dict[str, list[Batch]]:
    """The batches of every cell, by its path."""
    cells = [BATCHES.validate_json(path.read_bytes()) for path in paths]
    return {batches[0].cell.path: batches for batches in cells}


def regression_tables(
    judged: list[Path],
    seeds: list[Path],
    paper: Path,
    figure2: list[Cell],
    figure3: list[Cell],
    unchecked: dict[str, tuple[str, str]],
    output: Path,
    claimed: Path,
) -> None:
    """regression.csv, with the paper's value beside ours where it has one, and claims.csv.

    unchecked: the cells without a test, by path, with the verdict and the reason of that.
    """
    without = [gate.unchecked_row(path, *why) for path, why in unchecked.items()]
    frames = [*map(pd.read_csv, judged), *([pd.DataFrame(without)] if without else [])]
    counts = dict.fromkeys(("samples", "n_seeds", "n_diverged", "n_reference"), "Int64")
    rows = pd.concat(frames, ignore_index=True).reindex(columns=gate.COLUMNS).astype(counts)
    write_table(output, paper_comparison.with_paper(rows, pd.read_csv(paper), figure2, figure3))
    runs = read_batches(seeds)
    found = claims.claims(*([cell for cell in cells if cell.path in runs] for cells in (figure2, figure3)))
    write_table(claimed, pd.DataFrame(claims.table(found, runs), columns=claims.COLUMNS))


def gate_nights(nights: int, output: Path) -> None:
    """How often the gate is wrong: about as many tests and reference seeds as smoke, laptop and paper scale have."""
    families = ((36, 21), (52, 6), (52, 12))  # tests, seeds of the reference
    write_table(output, simulation.table(nights, families))


def regression_page(nights_table: Path, mutations: Path, page: Path) -> None:
    """Put the tables of the gate's errors and of the bugs it notices into docs/regression.md."""
    blocks = {
        "gate-nights": _errors(pd.read_csv(nights_table)),
        "mutations": _bugs(pd.read_csv(mutations, keep_default_na=False)),
    }
    write_text(page, markdown.filled(page.read_text(encoding="utf-8"), blocks))


def _errors(nights: pd.DataFrame) -> str:
    """A line a case and noise, the families of tests side by side."""
    families = nights[["tests", "reference_seeds"]].drop_duplicates().itertuples(index=False)
    names = [name for n, seeds in families for name in (f"{n} tests, {seeds} seeds: false alarm", "named")]
    lines = []
    for (case, noise), rows in nights.groupby(["case", "noise"], sort=False):
        shares = [_share(row[name]) for _, row in rows.iterrows() for name in ("false_alarm", "named")]
        lines.append([case, noise, *shares])
    return markdown.table(["case", "noise", *names], "ll" + "r" * len(names), lines)


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.2f} %"


def _bugs(mutations: pd.DataFrame) -> str:
    columns = ["bug", "file", "golden", "gate", "fail", "stale"]
    rows = mutations[[*columns, "inconclusive"]].itertuples(index=False)
    return markdown.table([*columns, "doubt"], "llrlrrr", rows)


def verdict(regression_table: Path, claims_table: Path) -> None:
    """Say what the gate found.

    Raises UserError, which ends the job with status 1, when a cell fails or is stale, or a claim of the paper breaks.
    """
    rows, claimed = (pd.read_csv(path) for path in (regression_table, claims_table))
    due = claimed[claimed["due"].astype(bool)]  # a table without a row has no type
    said = [gate.in_words(row) for _, row in rows.iterrows() if row["verdict"] != regression.PASS]
    said += [claims.in_words(row) for _, row in due.iterrows() if row["verdict"] != claims.HOLDS]
    counts = rows["verdict"].value_counts()
    counted = ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in regression.VERDICTS if verdict in counts
    )
    summary = f"{len(rows)} tests: {counted}."
    if len(due):
        shown = due["verdict"].value_counts()
        summary += f" Claims of the paper: {', '.join(f'{count} {name}' for name, count in shown.items())}."
    print("\n".join([*said, f"{summary} All of it: {regression_table}, {claims_table}"]))
    bad = rows[rows["verdict"].isin([regression.FAIL, regression.STALE])]
    broken = due[due["verdict"] == claims.BROKEN]
    if len(bad) or len(broken):
        cells = sorted({path_of(row) for _, row in bad.iterrows()})
        parts = [f"not as the reference: {', '.join(cells)}"] if cells else []
        parts += [f"broken: {', '.join(sorted(set(broken['claim'])))}"] if len(broken) else []
        word = f"The gate is closed; {'; '.join(parts)}."
        if cells:
            word += (
                " If a number was meant to move, commit its cause and then, alone, the new reference: "
                'snakemake bless --config reason="..." (a cell that diverged cannot be blessed).'
            )
        if len(broken):
            word += " Claims are the paper's own, and no reference takes part in them."
        raise UserError(word)
