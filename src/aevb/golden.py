"""The golden trace: what each learning algorithm's first 200 steps give, to the last digits.

The gate asks whether a number has got worse, and needs minutes and a margin for it. This asks whether any number of
training has moved at all, and needs seconds: every estimator on scikit-learn's digits with the settings of
config.yaml, and AEVB with a Gaussian decoder, in double precision, so that another machine's rounding stays below
TOLERANCE. A change that was meant to move numbers moves the trace too: `snakemake bless_golden` with a reason.
"""

import math
import tempfile
from pathlib import Path

import torch
from pydantic import ValidationError

from aevb import UserError, trees
from aevb.config import Config
from aevb.data import Split
from aevb.experiments import Cell, Strict
from aevb.references import Certificate
from aevb.stack import Member
from aevb.toy import double
from aevb.training import Trainer

SAMPLES = 20_000  # 200 steps of 100
FULL_BATCH_SAMPLES = 200_000  # of Monte Carlo EM, whose steps take thousands
SEEDS = (0, 1)
STEP_SIZE = 0.1
TOLERANCE = 1e-6  # relative; weights that start a last digit apart end up to 5e-8 apart, a test says

Trace = dict[str, float]


class Golden(Strict):
    """results/reference/golden.json: the accepted trace of every estimator."""

    certificate: Certificate
    traces: dict[str, Trace]


def cells(config: Config) -> dict[str, Cell]:
    """The first cell of every estimator on the digits, by its name; and that of AEVB with Frey Face's decoder."""
    found: dict[str, Cell] = {}
    for cell in config.every_cell():
        if cell.dataset == "digits":
            found.setdefault(cell.estimator, cell)
    gaussian = config.models["frey"].model_dump()
    return found | {"aevb, Gaussian": found["aevb"].model_copy(update=gaussian)}


def trace(cell: Cell, split: Split) -> Trace:
    """Of two seeds side by side: bounds at the report points, and at the end the norm of each array of weights."""
    with double(), tempfile.TemporaryDirectory() as store:
        trainer = Trainer(cell, split, torch.device("cpu"), Path(store))
        full_batch = trainer.estimator([STEP_SIZE]).full_batch
        members = [Member(seed, STEP_SIZE) for seed in SEEDS]
        runs = trainer.train(members, FULL_BATCH_SAMPLES if full_batch else SAMPLES)
    found = {}
    for run in runs:
        seed = f"seed {run.member.seed}"
        for row in run.trace.rows:
            found[f"{seed}, {row['split']} bound at {row['samples']:,}"] = row["bound"]
        for name, value in trees.leaves(run.state.params).items():
            found[f"{seed}, norm of {name}"] = value.norm().item()
    lost = [name for name, value in found.items() if not math.isfinite(value)]
    if lost:
        raise UserError(f"{cell.path} has no golden trace: {lost[0]} is not finite.")
    return found


def moved(found: Trace, accepted: Trace) -> list[str]:
    """What differs, a line each."""
    lines = [f"{name}: new" for name in sorted(found.keys() - accepted.keys())]
    lines += [f"{name}: gone" for name in sorted(accepted.keys() - found.keys())]
    lines += [
        f"{name}: {accepted[name]!r} -> {found[name]!r}"
        for name in accepted
        if name in found and not math.isclose(found[name], accepted[name], rel_tol=TOLERANCE)
    ]
    return lines


def read(path: Path) -> Golden:
    """Raises UserError when the file is missing or no golden trace."""
    try:
        return Golden.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} is no golden trace ({error}). Restore it, for example by `git checkout -- {path}`."
        ) from None
