"""config.yaml, checked: from the protocol to the cells that each figure needs and how far they are trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ValidationError, field_validator, model_validator

from aevb import UserError, consistency, provenance, strict_yaml
from aevb.experiments import (
    CERTIFIED,
    EVIDENCE,
    Cell,
    CertificationJob,
    Dataset,
    EvidenceJob,
    EvidenceTask,
    ExactJob,
    Job,
    Search,
    Strict,
)
from aevb.protocol import (
    TRAIN_SIZES,
    AtLeastOne,
    CertificationConfig,
    ComparisonConfig,
    EstimatorConfig,
    EvidenceConfig,
    Figure,
    GridConfig,
    ModelConfig,
    ScaleConfig,
    SizesConfig,
    StepSizeConfig,
    Study,
    TrainingConfig,
    Unique,
)
from aevb.schedule import snapshot_points

NVIDIA_DRIVER = Path("/proc/driver/nvidia")


class Config(Strict):
    """config.yaml, checked. An unknown key or a wrong value is refused by name."""

    scale: str
    datasets: Annotated[tuple[Dataset, ...], AtLeastOne, Unique]
    device: Literal["auto", "cpu", "cuda"]
    models: dict[Dataset, ModelConfig]
    training: TrainingConfig
    step_size: StepSizeConfig
    estimators: dict[str, EstimatorConfig]
    add: tuple[str, ...]  # estimators of the reader's; `parse` gives each an entry under estimators
    evidence: EvidenceConfig
    certification: CertificationConfig
    figures: dict[Figure, dict[Dataset, GridConfig]]
    full_vb: dict[Dataset, GridConfig]
    comparison: ComparisonConfig
    scales: dict[str, ScaleConfig]

    @field_validator("datasets", mode="before")
    @classmethod
    def _from_command_line(cls, value: Any) -> Any:
        """`--config datasets=digits,frey` arrives as one string."""
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sections_agree(self) -> "Config":
        consistency.check(self)
        return self

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
            source=self.estimators[estimator].source,
        )

    def grids(self, name: Figure | Study) -> dict[Dataset, GridConfig]:
        """The grids of a figure or study, of every dataset that it has."""
        if name == "comparison":
            compared = (
                self.comparison.baseline,
                *self.comparison.estimators,
                *map(provenance.name_of, self.add),
            )
            return {dataset: _one_size(compared, sizes) for dataset, sizes in self.comparison.sizes.items()}
        return self.full_vb if name == "full_vb" else self.figures.get(name, {})

    def cells(self, name: Figure | Study) -> list[Cell]:
        """The cells of one figure or study, for the chosen datasets."""
        return [cell for dataset in self.datasets for cell in self._grid(name, dataset)]

    def _grid(self, name: Figure | Study, dataset: Dataset) -> Iterator[Cell]:
        grid = self.grids(name).get(dataset)
        if grid is None:
            return
        for n_train in grid.n_train or (TRAIN_SIZES[dataset],):
            for n_latent in grid.n_latent:
                for estimator in grid.estimators:
                    yield self.cell(dataset, estimator, grid.n_hidden, n_latent, n_train)

    def all_cells(self) -> list[Cell]:
        """Every cell of the paper's figures once, in their order."""
        unique = {cell.path: cell for figure in self.figures for cell in self.cells(figure)}
        return list(unique.values())

    def every_cell(self) -> list[Cell]:
        """Those of the studies too."""
        unique = {cell.path: cell for cell in self.all_cells()}
        unique |= {cell.path: cell for study in get_args(Study) for cell in self.cells(study)}
        return list(unique.values())

    def job(self, cell: Cell) -> Job:
        """How far the cell is trained: as far as the most demanding figure asks, or Full VB's study."""
        names: list[Figure | Study] = [*self.figures, "full_vb"]
        wanted = [name for name in names if cell in self.cells(name)]
        samples = max(self.budget.budget(name, cell.dataset) for name in wanted)
        return Job(cell=cell, seeds=self.seeds, samples=samples, snapshots=self._snapshots(cell, samples))

    def comparison_job(self, cell: Cell) -> Job:
        """A cell of the comparison: more seeds than the figures have, no further than it needs."""
        seeds = tuple(range(self.budget.comparison_seeds))
        samples = self.budget.budget("comparison", cell.dataset)
        return Job(cell=cell, seeds=seeds, samples=samples, snapshots=self._snapshots(cell, samples))

    def _snapshots(self, cell: Cell, samples: int) -> tuple[int, ...]:
        """Where weights are kept: for Figure 3, and at the ends of every other use of the cell, smaller scales'
        included, so that going back to one trains nothing."""
        kept = set(snapshot_points(samples)) if cell in self.cells("figure3") else set()
        ends = {
            scale.budget(name, cell.dataset)
            for name in (*self.figures, *get_args(Study))
            if cell in self.cells(name)
            for scale in self.scales.values()
        }
        return tuple(sorted(kept | {end for end in ends if end <= samples}))

    def search(self, cell: Cell) -> Search:
        """The search whose step size the cell uses: one for all N_z of its dataset, method, width and N_train."""
        figures = self.all_cells()
        family = [
            other.n_latent
            for other in (figures if cell in figures else self.every_cell())
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

    def comparison_evidence_job(self, cell: Cell) -> EvidenceJob:
        """Certified log p(x) at the end of a comparison's runs."""
        job = self.comparison_job(cell)
        task = EvidenceTask(name=CERTIFIED, settings=self.evidence.of(CERTIFIED), samples=(job.samples,))
        return EvidenceJob(cell=cell, seeds=job.seeds, points=self.budget.evidence_points, tasks=(task,))

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


def _one_size(estimators: tuple[str, ...], sizes: SizesConfig) -> GridConfig:
    return GridConfig(
        estimators=estimators,
        n_hidden=sizes.n_hidden,
        n_latent=(sizes.n_latent,),
        n_train=(sizes.n_train,) if sizes.n_train else None,
    )


def _with_added(raw: dict[str, Any]) -> dict[str, Any]:
    """An entry under `estimators` for each file or module under `add`, trained as the comparison's baseline is."""
    added, known, comparison = raw.get("add"), raw.get("estimators"), raw.get("comparison")
    sources = [part for part in added.split(",") if part] if isinstance(added, str) else added
    if not sources or not isinstance(known, dict) or not isinstance(comparison, dict):
        return raw | {"add": sources or ()}
    like = known.get(comparison.get("baseline")) or {}
    entries = {
        provenance.name_of(str(source)): {**like, "settings": {}, "source": str(source)} for source in sources
    }
    return raw | {"add": sources, "estimators": {**entries, **known}}


def parse(raw: dict[str, Any]) -> Config:
    """Check a configuration.

    Raises UserError that names each unknown key or wrong value.
    """
    try:
        return Config.model_validate(_with_added(raw))
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


def read(path: Path) -> Config:
    """Read and check a configuration file.

    Raises UserError when it is no YAML mapping, gives a key twice, or is refused by `parse`.
    """
    return parse(strict_yaml.load(path))
