"""What an experiment is: typed, frozen, and printable as one line of JSON.

A cell is a point of the paper's grid with all that its numbers depend on except seed, step size and budget. Snakemake
reads this module for every command, so it imports no torch.
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from aevb.datasets import Dataset

if TYPE_CHECKING:
    import pandas as pd  # half a second, which no command need wait

# Estimators of log p(x): the function, below aevb.evidence, and the largest N_z that it takes
EVIDENCE: dict[str, tuple[str, str, float]] = {
    "appendix_d_robust": ("appendix_d", "evidence", 4),
    "appendix_d_paper": ("appendix_d", "evidence_paper", 4),
    "elbo": ("importance", "elbo", math.inf),
    "importance": ("importance", "evidence", math.inf),
    "annealed": ("annealed", "evidence", math.inf),
    "quadrature": ("quadrature", "evidence", 3),
}

CERTIFIED, AS_PUBLISHED = "appendix_d_robust", "appendix_d_paper"
COMPARED = (CERTIFIED, "elbo")  # of the same points, of which a comparison takes the difference too

STAGES = (3, 6, 12)  # seeds, so far, that the gate looks at; the same that a run has: 0, 1, ...
CHECKED_SEEDS = STAGES[-1]
Positive = Annotated[int, Field(gt=0, strict=True)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cell(Strict):
    """One point of the grid. Two cells with equal fields are the same experiment."""

    IDENTITY: ClassVar[tuple[str, ...]] = ("dataset", "estimator", "n_hidden", "n_latent", "n_train")

    dataset: Dataset
    estimator: str
    n_hidden: Positive
    n_latent: Positive
    n_train: Positive
    decoder: Literal["bernoulli", "gaussian"]
    log_var_floor: float | None = None
    batch_size: Positive
    warm_up: Annotated[int, Field(ge=0)]
    train_points: Positive
    settings: dict[str, int | float]
    source: str = ""  # where an estimator of the reader's lies; no number depends on that

    @property
    def path(self) -> str:
        """The cell's folder below results/runs/."""
        return cell_path(**self.identity)

    @property
    def identity(self) -> dict[str, Any]:
        """The columns that name the cell in every table."""
        return {name: getattr(self, name) for name in self.IDENTITY}

    @property
    def model_sizes(self) -> dict[str, Any]:
        """The arguments of `models.build` beside the number of features."""
        return self.model_dump(include={"n_hidden", "n_latent", "log_var_floor"})


def cell_path(dataset: str, estimator: str, n_hidden: int, n_latent: int, n_train: int) -> str:
    """The path of the cell of that identity."""
    return f"{dataset}/{estimator}/h{n_hidden}-z{n_latent}-n{n_train}"


def path_of(row: "Mapping[str, Any] | pd.Series") -> str:
    """The path of the cell that a table's row is of."""
    return cell_path(**{name: row[name] for name in Cell.IDENTITY})


def identity_of(path: str) -> dict[str, Any]:
    """The identity of the cell with that path: the columns that name it in every table."""
    dataset, estimator, sizes = path.split("/")
    numbers = [int(size[1:]) for size in sizes.split("-")]
    return dict(zip(Cell.IDENTITY, (dataset, estimator, *numbers), strict=True))


class Job(Strict):
    """A cell with its budget: the seeds of one stack, how far to train, and where to keep weights on the way."""

    cell: Cell
    seeds: tuple[int, ...]
    samples: Positive
    snapshots: tuple[int, ...] = ()


class Search(Strict):
    """The search for a cell's step size: the candidates train side by side, each with every seed."""

    cell: Cell
    candidates: tuple[float, ...]
    seeds: tuple[int, ...]
    samples: Positive


def _known(name: str) -> str:
    if name not in EVIDENCE:
        raise ValueError(f"there is no estimator of log p(x) '{name}'; known: {', '.join(EVIDENCE)}")
    return name


class EvidenceTask(Strict):
    """One estimator of log p(x), with its settings, at some points of a cell's training."""

    name: Annotated[str, AfterValidator(_known)]
    settings: dict[str, int | float]
    samples: tuple[int, ...]


class EvidenceJob(Strict):
    """The marginal likelihood of a cell's snapshots on the first `points` points of each split."""

    cell: Cell
    seeds: tuple[int, ...]
    points: Positive
    tasks: tuple[EvidenceTask, ...]
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")


class CheckJob(Strict):
    """A cell for the gate, which decides itself how many seeds it takes; `evidence` on the first test points."""

    cell: Cell
    samples: Positive
    snapshots: tuple[int, ...]
    evidence: EvidenceTask | None
    points: Positive
    scale: str
    reference_seeds: Positive  # of a reference
    n_tests: Positive = 1  # in the family that the cell is judged among


class CertificationJob(Strict):
    """Estimators of log p(x) against what is known to be right, on held-out points of one trained model."""

    cell: Cell
    seed: int
    samples: Positive
    points: Positive
    settings: dict[str, dict[str, int | float]]


class ExactJob(Strict):
    """Estimators of log p(x) against the exact value of probabilistic PCA."""

    n_latent: Positive
    n_features: Positive
    points: Positive
    settings: dict[str, dict[str, int | float]]


class GradientJob(Strict):
    """Every estimator's gradient at some points of one run's training; the first of them, 0, is its start."""

    REFERENCE: ClassVar[str] = "aevb"  # trains the run; the others' variances are relative to its

    cell: Cell
    seed: int
    moments: tuple[int, ...]
    estimators: tuple[str, ...]
    n_samples: tuple[Positive, ...]
    draws: Positive


def canonical(model: BaseModel) -> str:
    """One line of JSON with sorted keys: equal experiments give equal strings."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
