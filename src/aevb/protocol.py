"""The sections of config.yaml, one class each: types and ranges of what a user may write.

What sections say of each other is checked in aevb.consistency.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from aevb import algorithms
from aevb.datasets import Dataset
from aevb.experiments import GradientJob, Positive, Strict
from aevb.schedule import BLOCK, PREFERRED, report_points

Figure = Literal["figure2", "figure3", "figure4", "figure5"]
Study = Literal["comparison", "full_vb"]  # what is trained beside the paper's figures


def _report_point(value: float) -> float:
    if not math.isfinite(value) or value not in report_points(int(value)):
        raise ValueError(
            f"{value:g} is not a report point: take one of {{{', '.join(f'{p:g}' for p in PREFERRED)}}} x 10^k, "
            f"rounded to multiples of {BLOCK:g}"
        )
    return value


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{list(values)} names something twice")
    return values


Count = Annotated[int, Field(ge=0, strict=True)]
Unique = AfterValidator(_unique)
AtLeastOne = Field(min_length=1)
Budget = Annotated[float, AfterValidator(_report_point)]


class ModelConfig(Strict):
    decoder: Literal["bernoulli", "gaussian"]
    log_var_floor: float | None = None

    @model_validator(mode="after")
    def _floor_belongs_to_gaussian(self) -> "ModelConfig":
        if (self.decoder == "gaussian") != (self.log_var_floor is not None):
            raise ValueError("log_var_floor is needed by a gaussian decoder, and only by it")
        return self


class TrainingConfig(Strict):
    batch_size: Positive
    train_points: Positive

    @field_validator("batch_size")
    @classmethod
    def _reports_are_met(cls, size: int) -> int:
        """Else runs would report a little beyond the points at which tables and references look for them."""
        if BLOCK % size:
            dividing = [other for other in range(1, BLOCK + 1) if BLOCK % other == 0]
            near = min(dividing, key=lambda other: abs(other - size))
            raise ValueError(f"{size} does not divide the {BLOCK} samples between two reports: take {near}")
        return size


class StepSizeConfig(Strict):
    candidates: Annotated[tuple[Annotated[float, Field(gt=0)], ...], AtLeastOne, Unique]
    seed: Count
    n_latent: dict[Dataset, Positive]


class EstimatorConfig(Strict):
    warm_up: Count
    search_samples: Budget
    search_points: Positive | None = None
    settings: dict[str, int | float]
    source: str = ""  # of a file or module of the reader's; otherwise src/aevb/estimators/{name}.py


Names = Annotated[tuple[str, ...], Unique]


class EvidenceSettings(Strict):
    """Arguments of the functions in aevb.evidence, where they are given, within what makes sense."""

    draws: Annotated[int, Field(ge=25)] | None = None  # the fewest weights whose tail can be looked at
    leapfrogs: Positive | None = None
    acceptance: Annotated[float, Field(gt=0, lt=1)] | None = None
    warm_up: Annotated[int, Field(ge=50)] | None = None
    temperatures: Annotated[int, Field(ge=2)] | None = None
    chains: Annotated[int, Field(ge=2)] | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None


class EvidenceConfig(Strict):
    along_training: Names
    at_the_end: Names
    settings: dict[str, EvidenceSettings]

    def of(self, name: str) -> dict[str, int | float]:
        return self.settings[name].model_dump(exclude_none=True)


class CertificationConfig(Strict):
    estimators: Names
    n_features: Positive
    n_latent: Annotated[tuple[Positive, ...], AtLeastOne, Unique]
    temperatures: Annotated[int, Field(ge=2)]


class WidthsConfig(Strict):
    n_hidden: Positive
    n_latent: Positive


class SizesConfig(WidthsConfig):
    n_train: Positive | None = None


class ComparisonConfig(Strict):
    baseline: str
    estimators: Names
    sizes: dict[Dataset, SizesConfig]
    search_samples: dict[Dataset, Budget]  # of every method's search for a step size
    search_seeds: Positive

    @model_validator(mode="after")
    def _every_search_has_a_length(self) -> "ComparisonConfig":
        missing = sorted(set(self.sizes) - set(self.search_samples))
        if missing:
            raise ValueError(f"search_samples lacks {', '.join(missing)}, which sizes has")
        return self


class GradientsConfig(Strict):
    estimators: Names
    n_samples: Annotated[tuple[Positive, ...], AtLeastOne, Unique]
    draws: Annotated[int, Field(ge=10, multiple_of=2)]
    moments: Annotated[tuple[Budget, ...], Unique]
    runs: dict[Dataset, WidthsConfig]  # on the whole training set

    @field_validator("estimators")
    @classmethod
    def _draw_samples(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        files = algorithms.estimators()
        for name in names:
            if name not in files:
                raise ValueError(f"there is no file for '{name}' among {', '.join(files)}")
            if "n_samples" not in algorithms.settings_of(f"estimators/{name}", "build"):
                raise ValueError(f"build() of {name}.py takes no n_samples")
        if GradientJob.REFERENCE not in names:
            raise ValueError(f"variances are relative to that of {GradientJob.REFERENCE}, which is missing")
        return names

    def within(self, samples: int) -> tuple[int, ...]:
        """The moments of a run of that length, its end among them."""
        return tuple(sorted({*(int(moment) for moment in self.moments if moment < samples), samples}))


class GridConfig(Strict):
    estimators: Annotated[tuple[str, ...], AtLeastOne, Unique]
    n_hidden: Positive
    n_latent: Annotated[tuple[Positive, ...], AtLeastOne, Unique]
    n_train: Annotated[tuple[Positive, ...], AtLeastOne, Unique] | None = None


class ScaleConfig(Strict):
    seeds: Positive
    comparison_seeds: Positive
    reference_seeds: Annotated[int, Field(ge=3, strict=True)]
    samples: dict[Figure | Study, Budget | dict[Dataset, Budget]]
    evidence_points: Positive
    evidence_every: Positive
    certification_points: Annotated[int, Field(ge=2)]

    def budget(self, figure: Figure | Study, dataset: Dataset) -> int:
        samples = self.samples[figure]
        return int(samples[dataset] if isinstance(samples, dict) else samples)
