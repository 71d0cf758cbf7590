"""What a run's numbers are held against: accepted values of every cell with the whole of where they came from.

results/reference/{dataset}_{scale}.json holds one dataset's cells at one scale: of each seed the bounds along
training and an estimate of log p(x) at its end; versions, device, digests of data and code; and the certificate:
command, commit, date, reason, checks passed. It carries a digest of itself, so that nobody edits it by hand
unnoticed. The report points of a smaller scale are the first of a larger one, so that any run can be judged at the
largest point that both have.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from aevb import UserError
from aevb.experiments import Cell, EvidenceTask, Strict, canonical

SCHEMA = 1
SPLITS = ("train", "test")
BOUND, LIKELIHOOD = "bound", "log_likelihood"


class Seed(Strict):
    """One run: its bounds (samples, nats) on each split, and log p(x) of the test points at its end.

    Values that are no number, as after a divergence, are None. A method without a bound has no curves. log_likelihood
    is the estimate of `Batch.evidence` as it came out, at refused points too, whose number is `n_refused`.
    """

    seed: int
    samples: int
    diverged: bool
    curves: dict[str, tuple[tuple[int, float | None], ...]]
    log_likelihood: float | None = None
    n_refused: int = 0


class Batch(Strict):
    """Some seeds of one cell, and what beside the seed their numbers depend on."""

    cell: Cell
    step_size: float
    data: str
    numerics: str
    evidence: EvidenceTask | None
    points: int  # at which `evidence` is estimated
    device: str
    threads: int
    versions: dict[str, str]
    seeds: tuple[Seed, ...]

    @property
    def end(self) -> int:
        return self.seeds[0].samples


class Certificate(Strict):
    """Where a reference came from, and why."""

    reason: str
    command: str
    commit: str
    date: str
    checks: tuple[str, ...]


class Reference(Strict):
    """One dataset's accepted values at one scale, by the cell's path."""

    schema_version: int = SCHEMA
    dataset: str
    scale: str
    certificate: Certificate
    margins: dict[
        str, dict[str, float]
    ]  # of each cell's numbers at its end, in nats; they follow from the seeds
    cells: dict[str, Batch]


def name_of(dataset: str, scale: str) -> str:
    return f"{dataset}_{scale}.json"


def stated(reason: str) -> str:
    """Raises UserError where there is none."""
    if not reason.strip():
        raise UserError('A reference moves for a reason: snakemake bless --config reason="why it moves"')
    return reason


def digest(reference: Reference) -> str:
    return hashlib.sha256(canonical(reference).encode()).hexdigest()


def text(reference: Reference) -> str:
    """The file's content: a line a cell, so that versions can be compared."""
    content = reference.model_dump(mode="json")
    cells = content.pop("cells")
    head = json.dumps({"digest": digest(reference), **content}, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(path)}: {json.dumps(cell)}" for path, cell in cells.items())
    return f'{head},\n "cells": {{\n{lines}\n }}\n}}\n'


def read(path: Path) -> Reference:
    """A reference from its file.

    Raises UserError that names the file when it is no reference of this schema, or was edited.
    """
    mend = f"Restore it, for example by `git checkout -- {path}`, or make a new one by `snakemake bless`."
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found, version = raw.pop("digest"), raw["schema_version"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no reference ({type(error).__name__}: {error}). {mend}") from None
    if version != SCHEMA:
        raise UserError(
            f"{path} has schema {version}, and this version of the suite reads schema {SCHEMA}. Make a new one by "
            "`snakemake bless`, or use the version that wrote it."
        )
    try:
        reference = Reference.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path} is no reference ({error.errors()[0]['msg']}). {mend}") from None
    if digest(reference) != found:
        raise UserError(f"{path} was edited: its content does not match its digest. {mend}")
    return reference


def files(folder: Path, datasets: Iterable[str], scales: Iterable[str]) -> list[Path]:
    """The references of these datasets, at every scale that has one.

    Raises UserError when a dataset has none.
    """
    scales = list(scales)
    found = []
    for dataset in datasets:
        paths = [path for scale in scales if (path := folder / name_of(dataset, scale)).exists()]
        if not paths:
            raise UserError(
                f"There is no reference for {dataset} in {folder}. Leave it out (--config datasets=...), or make one "
                'from a commit that you trust: snakemake bless --config reason="..."'
            )
        found += paths
    return found


class Number(NamedTuple):
    """One number of one cell that is held against a reference, at a report point that both have."""

    path: str
    metric: str
    split: str
    samples: int
    scale: str  # the reference's


def tested(
    references: Sequence[Reference], path: str, samples: int, has_likelihood: bool, scale: str
) -> tuple[Batch | None, list[Number]]:
    """A cell's reference and what is tested against it; None and nothing where no reference has the cell.

    path, samples, scale: of the run; has_likelihood: whether it ends with an estimate of log p(x). Of several
    references the one that reaches furthest into the run is taken; among equals that of its scale. log p(x) is known
    at a reference's end alone, so that it is tested where the run ends there too.
    """

    def merit(reference: Reference) -> tuple[int, bool]:
        return min(samples, reference.cells[path].end), reference.scale == scale

    chosen = max((known for known in references if path in known.cells), key=merit, default=None)
    if chosen is None:
        return None, []
    known = chosen.cells[path]
    return known, numbers(path, known, samples, has_likelihood, chosen.scale)


def numbers(path: str, known: Batch, samples: int, has_likelihood: bool, scale: str) -> list[Number]:
    """What of a reference's cell can be held against a run: arguments as those of `tested`, scale the reference's."""
    found = []
    for split in SPLITS:
        points = [point for point, _ in known.seeds[0].curves.get(split, ()) if point <= samples]
        if points:
            found.append(Number(path, BOUND, split, max(points), scale))
    if known.evidence is not None and has_likelihood and known.end == samples:
        found.append(Number(path, LIKELIHOOD, "test", samples, scale))
    return found
