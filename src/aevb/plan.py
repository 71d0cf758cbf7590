"""What is trained: the cells that each figure and study needs, how far, and with which step size."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import field_validator

from aevb import algorithms, gpu
from aevb.datasets import DATASETS, Dataset
from aevb.experiments import Cell, GradientJob, Job, Search, Strict
from aevb.protocol import (
    AtLeastOne,
    CertificationConfig,
    ComparisonConfig,
    EstimatorConfig,
    EvidenceConfig,
    Figure,
    GradientsConfig,
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


class Plan(Strict):
    """The sections of config.yaml, and the training that they ask for."""

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
    gradients: GradientsConfig
    figures: dict[Figure, dict[Dataset, GridConfig]]
    full_vb: dict[Dataset, GridConfig]
    comparison: ComparisonConfig
    reason: str  # for moving a reference
    scales: dict[str, ScaleConfig]

    @field_validator("datasets", mode="before")
    @classmethod
    def _from_command_line(cls, value: Any) -> Any:
        """`--config datasets=digits,frey` arrives as one string."""
        return value.split(",") if isinstance(value, str) else value

    @property
    def budget(self) -> ScaleConfig:
        return self.scales[self.scale]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.budget.seeds))

    def uses_gpu(self) -> bool:
        """Whether jobs will compute on a GPU."""
        return self.device == "cuda" or (self.device == "auto" and gpu.visible())

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
            added = map(algorithms.name_of, self.add)  # which may be named among the others too
            compared = dict.fromkeys((self.comparison.baseline, *self.comparison.estimators, *added))
            return {
                dataset: _one_size(tuple(compared), sizes) for dataset, sizes in self.comparison.sizes.items()
            }
        return self.full_vb if name == "full_vb" else self.figures.get(name, {})

    def cells(self, name: Figure | Study) -> list[Cell]:
        """The cells of one figure or study, for the chosen datasets."""
        return list(self._cells[name].values())

    def has(self, name: Figure | Study, cell: Cell) -> bool:
        """Whether the figure or study shows the cell."""
        return self._cells[name].get(cell.path) == cell

    @cached_property
    def _cells(self) -> dict[str, dict[str, Cell]]:
        """Of every figure and study, by their paths."""
        return {
            name: {cell.path: cell for dataset in self.datasets for cell in self._grid(name, dataset)}
            for name in (*get_args(Figure), *get_args(Study))
        }

    def _grid(self, name: Figure | Study, dataset: Dataset) -> Iterator[Cell]:
        grid = self.grids(name).get(dataset)
        if grid is None:
            return
        for n_train in grid.n_train or (DATASETS[dataset].n_train,):
            for n_latent in grid.n_latent:
                for estimator in grid.estimators:
                    yield self.cell(dataset, estimator, grid.n_hidden, n_latent, n_train)

    def all_cells(self) -> list[Cell]:
        """Every cell of the paper's figures once, in their order."""
        return list(self._shown.values())

    @cached_property
    def _shown(self) -> dict[str, Cell]:
        return {cell.path: cell for figure in self.figures for cell in self.cells(figure)}

    def every_cell(self) -> list[Cell]:
        """Those of the studies too."""
        studied = {cell.path: cell for study in get_args(Study) for cell in self.cells(study)}
        return list((self._shown | studied).values())

    def job(self, cell: Cell) -> Job:
        """How far the cell is trained: as far as the most demanding figure asks, or Full VB's study."""
        names: list[Figure | Study] = [*self.figures, "full_vb"]
        wanted = [name for name in names if self.has(name, cell)]
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
        kept = set(snapshot_points(samples)) if self.has("figure3", cell) else set()
        ends = {
            scale.budget(name, cell.dataset)
            for name in (*self.figures, *get_args(Study))
            if self.has(name, cell)
            for scale in self.scales.values()
        }
        followed = self.gradients.within(samples) if cell in self.gradient_cells() else ()
        return tuple(sorted({*kept, *followed} | {end for end in ends if end <= samples}))

    def search(self, cell: Cell) -> Search:
        """The search whose step size the cell uses: one for all N_z of its dataset, method, width and N_train."""
        shown = cell.path in self._shown
        family = self._families[shown][_but_n_latent(cell)]
        wanted = self.step_size.n_latent[cell.dataset]
        searched = cell.model_copy(update={"n_latent": wanted if wanted in family else min(family)})
        return self._search(searched, self.estimators[cell.estimator].search_samples, 1)

    def comparison_search(self, cell: Cell) -> Search:
        """The search of a cell of the comparison: not of its family's N_z, and as long, with as many seeds, for every
        method."""
        samples = self.comparison.search_samples[cell.dataset]
        return self._search(cell, samples, self.comparison.search_seeds)

    def _search(self, cell: Cell, samples: float, n_seeds: int) -> Search:
        """On the cell, or on as many of its training points as its estimator's searches take."""
        n_train = min(cell.n_train, self.estimators[cell.estimator].search_points or cell.n_train)
        points = {"n_train": n_train, "train_points": min(cell.train_points, n_train)}
        first = self.step_size.seed
        return Search(
            cell=cell.model_copy(update=points),
            candidates=self.step_size.candidates,
            seeds=tuple(range(first, first + n_seeds)),
            samples=int(samples),
        )

    @cached_property
    def _families(self) -> dict[bool, dict[tuple[Any, ...], list[int]]]:
        """The N_z of all cells that differ in nothing else: of the figures' (True), and with the studies' (False)."""
        return {True: _families(self.all_cells()), False: _families(self.every_cell())}

    def gradient_cells(self) -> list[Cell]:
        """The cell of each chosen dataset whose training the gradients follow."""
        return self._followed

    @cached_property
    def _followed(self) -> list[Cell]:
        def followed(cell: Cell) -> bool:
            run = self.gradients.runs.get(cell.dataset)
            sizes = (GradientJob.REFERENCE, DATASETS[cell.dataset].n_train, cell.n_hidden, cell.n_latent)
            return run is not None and sizes == (cell.estimator, cell.n_train, run.n_hidden, run.n_latent)

        return list(filter(followed, self.all_cells()))


def _families(cells: list[Cell]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for cell in cells:
        found[_but_n_latent(cell)].append(cell.n_latent)
    return found


def _but_n_latent(cell: Cell) -> tuple[Any, ...]:
    return tuple(value for name, value in cell.identity.items() if name != "n_latent")


def _one_size(estimators: tuple[str, ...], sizes: SizesConfig) -> GridConfig:
    return GridConfig(
        estimators=estimators,
        n_hidden=sizes.n_hidden,
        n_latent=(sizes.n_latent,),
        n_train=(sizes.n_train,) if sizes.n_train else None,
    )
