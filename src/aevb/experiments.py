"""What an experiment is: typed, frozen, and printable as one line of JSON.

A cell is a point of the paper's grid with all that its numbers depend on except seed, step size and budget. Snakemake
reads this module for every command, so it imports no torch.
"""

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Dataset = Literal["mnist", "frey", "digits"]
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

    @property
    def path(self) -> str:
        """The cell's folder below results/runs/."""
        return f"{self.dataset}/{self.estimator}/h{self.n_hidden}-z{self.n_latent}-n{self.n_train}"

    @property
    def identity(self) -> dict[str, Any]:
        """The columns that name the cell in every table."""
        return {name: getattr(self, name) for name in self.IDENTITY}

    @property
    def model_sizes(self) -> dict[str, Any]:
        """The arguments of `models.build` beside the number of features."""
        return self.model_dump(include={"n_hidden", "n_latent", "log_var_floor"})


class Job(Strict):
    """A cell with its budget: the seeds of one stack, how far to train, and where to keep weights on the way."""

    cell: Cell
    seeds: tuple[int, ...]
    samples: Positive
    snapshots: tuple[int, ...] = ()


class Search(Strict):
    """The search for a cell's step size: the candidates train side by side."""

    cell: Cell
    candidates: tuple[float, ...]
    seed: int
    samples: Positive


class EvidenceJob(Strict):
    """The marginal likelihood of a cell's snapshots by Appendix D."""

    cell: Cell
    seeds: tuple[int, ...]
    samples: tuple[int, ...]
    points: Positive
    draws: Positive
    leapfrogs: Positive
    acceptance: float
    warm_up: Positive


def canonical(model: BaseModel) -> str:
    """One line of JSON with sorted keys: equal experiments give equal strings."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
