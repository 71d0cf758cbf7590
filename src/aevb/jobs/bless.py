"""Jobs that move a reference: what it was, what it becomes, why, and whether it may. Files in, files out."""

import datetime
from pathlib import Path

import numpy as np

from aevb import UserError, config, data, gate, golden, processor, references, regression, soundness
from aevb.clone import commit
from aevb.files import write_text
from aevb.intervals import of_mean
from aevb.jobs.check import read_batches
from aevb.provenance import estimator, numerics_digest
from aevb.references import Batch, Certificate, Number, Reference


def bless(runs: list[Path], scale: str, reason: str, command: str, root: Path) -> None:
    """Make the measured seeds of the cells the references of their data sets, and print before and after.

    runs: the seeds of each cell; root: the clone, whose results/reference is written.
    Raises UserError, before anything is written, without a reason, from a tree with changes, or of runs that could
    not stand as a reference.
    """
    measured = {path: _one(batches) for path, batches in read_batches(runs).items()}
    certificate = _certificate(reason, command, root, _checks(measured, scale))
    by_dataset: dict[str, dict[str, Batch]] = {}
    for path, batch in measured.items():
        by_dataset.setdefault(batch.cell.dataset, {})[path] = batch
    for dataset, cells in by_dataset.items():
        new = Reference(
            dataset=dataset, scale=scale, certificate=certificate, margins=_margins(cells, scale), cells=cells
        )
        file = root / "results/reference" / references.name_of(dataset, scale)
        print(f"{file}: {reason}")
        old = _cells_of(file)
        for path, batch in cells.items():
            for test in references.numbers(path, batch, batch.end, True, scale):
                print(f"  {_before_and_after(test, old.get(path), batch)}")
        for path in sorted(old.keys() - cells.keys()):
            print(f"  {path}: -> none, since config.yaml does not have it")
        write_text(file, references.text(new))


def bless_golden(points: Path, reason: str, command: str, root: Path) -> None:
    """Make the present trace of every estimator the golden one, and print what moves.

    points: the digits. Raises UserError without a reason or from a tree with changes.
    """
    processor.prepare(1)
    split = data.load(points)
    file = root / "results/reference/golden.json"
    traces = {
        name: golden.trace(cell, split)
        for name, cell in golden.cells(config.read(root / "config.yaml", datasets="digits")).items()
    }
    new = golden.Golden(certificate=_certificate(reason, command, root, []), traces=traces)
    old = golden.read(file).traces if file.exists() else {}
    print(f"{file}: {reason}")
    for name, found in traces.items():
        for line in golden.moved(found, old.get(name, {})) or ["as before"]:
            print(f"  {name}: {line}")
    write_text(file, new.model_dump_json(indent=1) + "\n")


def _certificate(reason: str, command: str, root: Path, checks: list[str]) -> Certificate:
    return Certificate(
        reason=references.stated(reason),
        command=command,
        commit=commit(root),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        checks=tuple(checks),
    )


def _cells_of(file: Path) -> dict[str, Batch]:
    """What the file held: nothing where it is missing or, said aloud, where it cannot be read."""
    try:
        return references.read(file).cells if file.exists() else {}
    except UserError as error:
        print(f"  It takes the place of a file that cannot be read. {error}")
        return {}


def _margins(cells: dict[str, Batch], scale: str) -> dict[str, dict[str, float]]:
    """The drop that is accepted of each number at the end of each cell, in nats."""
    return {
        path: {
            f"{number.split} {number.metric}": round(regression.margin(gate.values(number, batch.seeds)), 4)
            for number in references.numbers(path, batch, batch.end, True, scale)
        }
        for path, batch in cells.items()
    }


def _one(batches: list[Batch]) -> Batch:
    """The seeds of all batches as one."""
    return batches[0].model_copy(update={"seeds": tuple(seed for batch in batches for seed in batch.seeds)})


def _checks(measured: dict[str, Batch], scale: str) -> list[str]:
    """What was found in order; raises UserError where something is not."""
    for path, batch in measured.items():
        diverged = [seed.seed for seed in batch.seeds if seed.diverged]
        if diverged:
            raise UserError(
                f"{path}: seeds {diverged} diverged, and nothing can be held against them. {soundness.REMEDY}, or "
                "leave the cell out."
            )
        if batch.numerics != numerics_digest(estimator(batch.cell.estimator, batch.cell.source)):
            raise UserError(
                f"{path} was measured by other code than this: delete results/check and bless again."
            )
        missing = [seed.seed for seed in batch.seeds if batch.evidence and seed.log_likelihood is None]
        if missing:
            raise UserError(f"{path}: the estimate of log p(x) is not finite for seeds {missing}.")
    n_seeds = min(len(batch.seeds) for batch in measured.values())
    n_tests = sum(
        len(references.numbers(path, batch, batch.end, True, scale)) for path, batch in measured.items()
    )
    fewest = regression.fewest_seeds(n_seeds, n_tests)
    if fewest is None:
        raise UserError(
            f"Against a reference of {n_seeds} seeds none of {n_tests} tests could ever fail: raise "
            f"scales.{scale}.reference_seeds in config.yaml."
        )
    return [
        "no seed diverged",
        "every estimate of log p(x) is finite",
        f"{n_seeds} seeds a cell: {fewest} of a run suffice to fail one of {n_tests} tests",
        "code and configuration are those of the commit",
    ]


def _before_and_after(test: Number, old: Batch | None, new: Batch) -> str:
    """One line: the mean over seeds with its 95 % interval, before and after."""
    name = f"{test.path} {test.split} {test.metric} at {test.samples:,}"
    after = gate.values(test, new.seeds)
    before = gate.values(test, old.seeds) if old else np.array([])
    moved = f" ({after.mean() - before.mean():+.2f})" if len(before) else ""
    return f"{name}: {_interval(before)} -> {_interval(after)}{moved}"


def _interval(values: regression.Values) -> str:
    if not len(values):
        return "none"
    mean, _, high = of_mean(values)
    return f"{mean:.2f} +- {high - mean:.2f} ({len(values)} seeds)"
