"""config.yaml, checked: from the protocol to the cells that each figure needs and how far they are trained."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from aevb import UserError, provenance
from aevb.experiments import Cell, Dataset, EvidenceJob, Job, Positive, Search, Strict
from aevb.schedule import BLOCK, PREFERRED, report_points, snapshot_points

NVIDIA_DRIVER = Path("/proc/driver/nvidia")
APPENDIX_D_LATENT = 4  # the paper uses the estimator "with less than 5 latent dimensions"
TRAIN_SIZES = {"mnist": 50_000, "frey": 1_600, "digits": 1_500}

Figure = Literal["figure2", "figure3", "figure4", "figure5"]


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


class StepSizeConfig(Strict):
    candidates: Annotated[tuple[Annotated[float, Field(gt=0)], ...], AtLeastOne, Unique]
    seed: Count
    n_latent: dict[Dataset, Positive]


class EstimatorConfig(Strict):
    warm_up: Count
    search_samples: Budget
    search_points: Positive | None = None
    settings: dict[str, int | float]


class EvidenceConfig(Strict):
    samples: Annotated[int, Field(ge=10)]
    leapfrogs: Positive
    acceptance: Annotated[float, Field(gt=0, lt=1)]
    warm_up: Annotated[int, Field(ge=50)]


class GridConfig(Strict):
    estimators: Annotated[tuple[str, ...], AtLeastOne, Unique]
    n_hidden: Positive
    n_latent: Annotated[tuple[Positive, ...], AtLeastOne, Unique]
    n_train: Annotated[tuple[Positive, ...], AtLeastOne, Unique] | None = None


class ScaleConfig(Strict):
    seeds: Positive
    samples: dict[Figure, Budget | dict[Dataset, Budget]]
    evidence_points: Positive
    evidence_every: Positive

    def budget(self, figure: Figure, dataset: Dataset) -> int:
        samples = self.samples[figure]
        return int(samples[dataset] if isinstance(samples, dict) else samples)


class Config(Strict):
    """config.yaml, checked. An unknown key or a wrong value is refused by name."""

    scale: str
    datasets: Annotated[tuple[Dataset, ...], AtLeastOne, Unique]
    device: Literal["auto", "cpu", "cuda"]
    models: dict[Dataset, ModelConfig]
    training: TrainingConfig
    step_size: StepSizeConfig
    estimators: dict[str, EstimatorConfig]
    evidence: EvidenceConfig
    figures: dict[Figure, dict[Dataset, GridConfig]]
    scales: dict[str, ScaleConfig]

    @field_validator("datasets", mode="before")
    @classmethod
    def _from_command_line(cls, value: Any) -> Any:
        """`--config datasets=digits,frey` arrives as one string."""
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names_exist(self) -> "Config":
        _require(self.scale in self.scales, f"scale: '{self.scale}' is not one of {', '.join(self.scales)}")
        most = max(scale.seeds for scale in self.scales.values())
        _require(self.step_size.seed >= most, f"step_size.seed: runs use seeds 0..{most - 1}; take another")
        files = provenance.estimators()
        for name, estimator in self.estimators.items():
            _require(name in files, f"estimators: there is no file for '{name}' among {', '.join(files)}")
            unknown = ", ".join(set(estimator.settings) - provenance.settings_of(name))
            _require(not unknown, f"estimators.{name}.settings: build() of {name}.py takes no {unknown}")
        for figure in get_args(Figure):
            for dataset, grid in self.figures.get(figure, {}).items():
                self._check_grid(figure, dataset, grid)
        return self

    def _check_grid(self, figure: Figure, dataset: Dataset, grid: GridConfig) -> None:
        where = f"figures.{figure}.{dataset}"
        for name in grid.estimators:
            _require(name in self.estimators, f"{where}: estimator '{name}' has no entry under estimators")
        size = TRAIN_SIZES[dataset]
        for n_train in grid.n_train or ():
            _require(n_train <= size, f"{where}: n_train {n_train} exceeds the {size} points of {dataset}")
        if figure == "figure3":
            most = f"Appendix D takes at most {APPENDIX_D_LATENT} latent dimensions"
            _require(max(grid.n_latent) <= APPENDIX_D_LATENT, f"{where}.n_latent: {most}")
        if figure == "figure4":
            _require(grid.n_latent == (2,), f"{where}.n_latent: a manifold needs [2]")
            _require(len(grid.estimators) == 1, f"{where}.estimators: one manifold is drawn, so name one")
        if dataset in self.datasets:
            self._check_entries(figure, dataset)

    def _check_entries(self, figure: Figure, dataset: Dataset) -> None:
        """What the chosen datasets' figures look up elsewhere."""
        _require(dataset in self.models, f"models.{dataset} is missing")
        _require(dataset in self.step_size.n_latent, f"step_size.n_latent.{dataset} is missing")
        for name, scale in self.scales.items():
            samples = scale.samples.get(figure, {})
            there = figure in scale.samples and (not isinstance(samples, dict) or dataset in samples)
            _require(there, f"scales.{name}.samples.{figure} is missing or has no budget for {dataset}")

    @property
    def budget(self) -> ScaleConfig:
        return self.scales[self.scale]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.budget.seeds))

    def uses_gpu(self) -> bool:
        """Whether jobs will compute on a GPU, without the second that importing torch takes."""
        return self.device == "cuda" or (self.device == "auto" and NVIDIA_DRIVER.exists())

    def cell(self, dataset: Dataset, estimator: str, n_hidden: int, n_latent: int, n_train: int) -> Cell:
        model = self.models[dataset]
        return Cell(
            dataset=dataset,
            estimator=estimator,
            n_hidden=n_hidden,
            n_latent=n_latent,
            n_train=n_train,
            decoder=model.decoder,
            log_var_floor=model.log_var_floor,
            batch_size=self.training.batch_size,
            warm_up=self.estimators[estimator].warm_up,
            train_points=min(self.training.train_points, n_train),
            settings=self.estimators[estimator].settings,
        )

    def cells(self, figure: Figure) -> list[Cell]:
        """The cells of one figure, for the chosen datasets."""
        return [cell for dataset in self.datasets for cell in self._grid(figure, dataset)]

    def _grid(self, figure: Figure, dataset: Dataset) -> Iterator[Cell]:
        grid = self.figures.get(figure, {}).get(dataset)
        if grid is None:
            return
        for n_train in grid.n_train or (TRAIN_SIZES[dataset],):
            for n_latent in grid.n_latent:
                for estimator in grid.estimators:
                    yield self.cell(dataset, estimator, grid.n_hidden, n_latent, n_train)

    def all_cells(self) -> list[Cell]:
        """Every cell once, in the order of the figures."""
        unique = {cell.path: cell for figure in self.figures for cell in self.cells(figure)}
        return list(unique.values())

    def job(self, cell: Cell) -> Job:
        """How far the cell is trained: as far as the most demanding figure asks."""
        wanted = [figure for figure in self.figures if cell in self.cells(figure)]
        budgets = {
            max(scale.budget(figure, cell.dataset) for figure in wanted) for scale in self.scales.values()
        }
        samples = max(self.budget.budget(figure, cell.dataset) for figure in wanted)
        kept = snapshot_points(samples) if "figure3" in wanted else ()
        # a smaller scale's weights are kept on the way, so that going back to it trains nothing
        smaller = {budget for budget in budgets if budget <= samples}
        return Job(cell=cell, seeds=self.seeds, samples=samples, snapshots=tuple(sorted({*kept, *smaller})))

    def search(self, cell: Cell) -> Search:
        """The search whose step size the cell uses: one for all N_z of its dataset, method, width and N_train."""
        family = [
            other.n_latent
            for other in self.all_cells()
            if other.model_copy(update={"n_latent": cell.n_latent}) == cell
        ]
        wanted = self.step_size.n_latent[cell.dataset]
        estimator = self.estimators[cell.estimator]
        n_train = min(cell.n_train, estimator.search_points or cell.n_train)
        size = {
            "n_latent": wanted if wanted in family else min(family),
            "n_train": n_train,
            "train_points": min(cell.train_points, n_train),
        }
        return Search(
            cell=cell.model_copy(update=size),
            candidates=self.step_size.candidates,
            seed=self.step_size.seed,
            samples=int(estimator.search_samples),
        )

    def evidence_job(self, cell: Cell) -> EvidenceJob:
        job = self.job(cell)
        return EvidenceJob(
            cell=cell,
            seeds=job.seeds,
            samples=snapshot_points(job.samples)[:: -self.budget.evidence_every][::-1],
            points=self.budget.evidence_points,
            draws=self.evidence.samples,
            leapfrogs=self.evidence.leapfrogs,
            acceptance=self.evidence.acceptance,
            warm_up=self.evidence.warm_up,
        )


def parse(raw: dict[str, Any]) -> Config:
    """Check a configuration.

    Raises UserError that names each unknown key or wrong value.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        # pydantic puts the branches of a union among the keys; a user knows only the keys
        keys = [
            [str(key) for key in e["loc"] if isinstance(key, int) or key.isidentifier()]
            for e in error.errors()
        ]
        problems = [
            f"  {'.'.join(key) or 'config'}: {e['msg']}" for key, e in zip(keys, error.errors(), strict=True)
        ]
        raise UserError("config.yaml is refused:\n" + "\n".join(problems)) from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, of which PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise UserError(f"{node.start_mark.name}: the key {', '.join(sorted(twice))} is given twice")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Config:
    """Read and check a configuration file.

    Raises UserError when it is no YAML mapping, gives a key twice, or is refused by `parse`.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} must be a YAML mapping")
    return parse(raw)
