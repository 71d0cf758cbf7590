"""config.yaml, checked: from the protocol to the cells that each figure needs and how far they are trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ValidationError, field_validator, model_validator

from aevb import UserError, provenance, strict_yaml
from aevb.experiments import (
    EVIDENCE,
    Cell,
    CertificationJob,
    Dataset,
    EvidenceJob,
    EvidenceTask,
    ExactJob,
    GradientJob,
    Job,
    Search,
    Strict,
)
from aevb.protocol import (
    AtLeastOne,
    CertificationConfig,
    EstimatorConfig,
    EvidenceConfig,
    Figure,
    GradientsConfig,
    GridConfig,
    ModelConfig,
    ScaleConfig,
    StepSizeConfig,
    TrainingConfig,
    Unique,
)
from aevb.schedule import snapshot_points

NVIDIA_DRIVER = Path("/proc/driver/nvidia")
TRAIN_SIZES = {"mnist": 50_000, "frey": 1_600, "digits": 1_500}


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
    certification: CertificationConfig
    gradients: GradientsConfig
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
            unknown = ", ".join(
                set(estimator.settings) - provenance.settings_of(f"estimators/{name}", "build")
            )
            _require(not unknown, f"estimators.{name}.settings: build() of {name}.py takes no {unknown}")
        self._check_evidence()
        for figure in get_args(Figure):
            for dataset, grid in self.figures.get(figure, {}).items():
                self._check_grid(figure, dataset, grid)
        followed = {cell.dataset for cell in self.gradient_cells()}
        for dataset in {*self.datasets} & {*self.gradients.runs}:
            trains = f"no figure trains {GradientJob.REFERENCE} of these sizes on all of {dataset}"
            _require(dataset in followed, f"gradients.runs.{dataset}: {trains}")
        return self

    def _check_evidence(self) -> None:
        for name in self.evidence.settings:
            known = ", ".join(EVIDENCE)
            _require(name in EVIDENCE, f"evidence.settings.{name} is not one of {known}")
            module, function, _ = EVIDENCE[name]
            takes = provenance.settings_of(f"evidence/{module}", function)
            unknown = ", ".join(set(self.evidence.of(name)) - takes)
            _require(not unknown, f"evidence.settings.{name}: {function}() of {module}.py takes no {unknown}")
        named = {
            "evidence.along_training": self.evidence.along_training,
            "evidence.at_the_end": self.evidence.at_the_end,
            "certification.estimators": self.certification.estimators,
        }
        for where, names in named.items():
            missing = ", ".join(set(names) - set(self.evidence.settings))
            _require(not missing, f"{where}: no entry under evidence.settings for {missing}")

    def _check_grid(self, figure: Figure, dataset: Dataset, grid: GridConfig) -> None:
        where = f"figures.{figure}.{dataset}"
        for name in grid.estimators:
            _require(name in self.estimators, f"{where}: estimator '{name}' has no entry under estimators")
        size = TRAIN_SIZES[dataset]
        for n_train in grid.n_train or ():
            _require(n_train <= size, f"{where}: n_train {n_train} exceeds the {size} points of {dataset}")
        if figure == "figure3":
            for name in self.evidence.along_training:
                limit = EVIDENCE[name][2]
                most = f"{name} takes at most {limit} latent dimensions"
                _require(max(grid.n_latent) <= limit, f"{where}.n_latent: {most}")
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
        followed = self.gradients.within(samples) if cell in self.gradient_cells() else ()
        # a smaller scale's weights are kept on the way, so that going back to it trains nothing
        smaller = {budget for budget in budgets if budget <= samples}
        snapshots = tuple(sorted({*kept, *followed, *smaller}))
        return Job(cell=cell, seeds=self.seeds, samples=samples, snapshots=snapshots)

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

    def evidence_cells(self) -> list[Cell]:
        """The cells whose log p(x) is estimated: those of Figures 2 and 3."""
        wanted = [*self.cells("figure2"), *self.cells("figure3")]
        return [cell for cell in self.all_cells() if cell in wanted]

    def evidence_job(self, cell: Cell) -> EvidenceJob:
        job = self.job(cell)
        along = snapshot_points(job.samples)[:: -self.budget.evidence_every][::-1]
        followed = self.evidence.along_training if cell in self.cells("figure3") else ()
        names = dict.fromkeys((*followed, *self.evidence.at_the_end))
        tasks = [
            EvidenceTask(
                name=name,
                settings=self.evidence.of(name),
                samples=along if name in followed else (job.samples,),
            )
            for name in names
            if cell.n_latent <= EVIDENCE[name][2]
        ]
        return EvidenceJob(cell=cell, seeds=job.seeds, points=self.budget.evidence_points, tasks=tuple(tasks))

    def gradient_cells(self) -> list[Cell]:
        """The cell of each chosen dataset whose training the gradients follow."""

        def followed(cell: Cell) -> bool:
            run = self.gradients.runs.get(cell.dataset)
            sizes = (GradientJob.REFERENCE, TRAIN_SIZES[cell.dataset], cell.n_hidden, cell.n_latent)
            return run is not None and sizes == (cell.estimator, cell.n_train, run.n_hidden, run.n_latent)

        return list(filter(followed, self.all_cells()))

    def gradient_job(self, cell: Cell) -> GradientJob:
        """Gradients along the run of a cell's first seed, from its initial weights to its end."""
        fields = self.gradients.model_dump(include={"estimators", "n_samples", "draws"})
        moments = (0, *self.gradients.within(self.job(cell).samples))
        return GradientJob(cell=cell, seed=0, moments=moments, **fields)

    def certification_job(self, cell: Cell) -> CertificationJob:
        """The estimators of log p(x) on the final weights of a cell's first seed."""
        return CertificationJob(
            cell=cell,
            seed=0,
            samples=self.job(cell).samples,
            points=self.budget.certification_points,
            settings=self._certified(cell.n_latent),
        )

    def exact_jobs(self) -> list[ExactJob]:
        return [
            ExactJob(
                n_latent=n_latent,
                n_features=self.certification.n_features,
                points=self.budget.certification_points,
                settings=self._certified(n_latent),
            )
            for n_latent in self.certification.n_latent
        ]

    def _certified(self, n_latent: int) -> dict[str, dict[str, int | float]]:
        names = [name for name in self.certification.estimators if n_latent <= EVIDENCE[name][2]]
        settings = {name: self.evidence.of(name) for name in names}
        if "annealed" in settings:
            settings["annealed"] |= {"temperatures": self.certification.temperatures}
        return settings


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


def read(path: Path) -> Config:
    """Read and check a configuration file.

    Raises UserError when it is no YAML mapping, gives a key twice, or is refused by `parse`.
    """
    return parse(strict_yaml.load(path))
