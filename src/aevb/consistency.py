"""What the sections of config.yaml say of each other, checked; aevb.protocol checks each by itself.

Each check raises ValueError with a sentence that begins with the key at fault.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from aevb import algorithms, provenance
from aevb.datasets import DATASETS, Dataset
from aevb.experiments import CERTIFIED, CHECKED_SEEDS, COMPARED, EVIDENCE, GradientJob
from aevb.protocol import Figure, GridConfig, Study

if TYPE_CHECKING:
    from aevb.config import Config


def check(config: "Config") -> None:
    _require(
        config.scale in config.scales, f"scale: '{config.scale}' is not one of {', '.join(config.scales)}"
    )
    used = [(scale.seeds, scale.comparison_seeds, scale.reference_seeds) for scale in config.scales.values()]
    most = max(CHECKED_SEEDS, *map(max, used))
    _require(config.step_size.seed >= most, f"step_size.seed: runs use seeds 0..{most - 1}; take another")
    _check_estimators(config)
    _check_added(config)
    _check_evidence(config)
    _check_comparison(config)
    for name in (*get_args(Figure), *get_args(Study)):
        for dataset, grid in config.grids(name).items():
            _check_grid(config, name, dataset, grid)
    _check_warm_up(config)
    _check_gradients(config)


def _check_estimators(config: "Config") -> None:
    files = algorithms.estimators()
    for name, estimator in config.estimators.items():
        known = name in files or bool(estimator.source)
        _require(known, f"estimators: there is no file for '{name}' among {', '.join(files)}")
        module = provenance.estimator(name, estimator.source)
        if estimator.source:
            own = f"estimators.{name}: the suite has its own '{name}'; give yours another name"
            _require(name not in files, own)
            small = (
                f"estimators.{name}: a name has small letters, digits and underscores, with a letter first, and is "
                f"none of {', '.join(algorithms.IN_TABLES)}"
            )
            _require(bool(re.fullmatch(algorithms.IDENTIFIER, name)), small)
        takes = algorithms.settings_of(module, "build")
        unknown = set(estimator.settings) - set(takes)
        _require(not unknown, f"estimators.{name}.settings: build() of {name}.py takes no {_named(unknown)}")
        for setting, value in estimator.settings.items():
            _check_setting(f"estimators.{name}.settings.{setting}", value, takes[setting])


def _check_added(config: "Config") -> None:
    for source in config.add:
        name = algorithms.name_of(source)
        other = config.estimators[name].source
        same = Path(provenance.estimator(name, source)).samefile(provenance.estimator(name, other))
        _require(same, f"add: {source} and {other} are both called '{name}'; rename one of the files")


def _check_setting(where: str, value: int | float, default: Any) -> None:
    """A whole number where the default is one, and not below 1 where the default is not."""
    if type(default) is int:
        _require(type(value) is int, f"{where}: a whole number is needed, not {value}")
        _require(value >= min(default, 1), f"{where}: at least {min(default, 1)} is needed, not {value}")
    if where.endswith(".acceptance"):
        _require(0 < value < 1, f"{where}: a share between 0 and 1 is needed, not {value}")


def _check_evidence(config: "Config") -> None:
    for name in config.evidence.settings:
        known = ", ".join(EVIDENCE)
        _require(name in EVIDENCE, f"evidence.settings.{name} is not one of {known}")
        module, function, _ = EVIDENCE[name]
        takes = algorithms.settings_of(f"evidence/{module}", function)
        unknown = set(config.evidence.of(name)) - set(takes)
        _require(
            not unknown, f"evidence.settings.{name}: {function}() of {module}.py takes no {_named(unknown)}"
        )
    named = {
        "evidence.along_training": config.evidence.along_training,
        "evidence.at_the_end": config.evidence.at_the_end,
        "certification.estimators": config.certification.estimators,
        "comparison": COMPARED,
    }
    for where, names in named.items():
        missing = set(names) - set(config.evidence.settings)
        _require(not missing, f"{where}: no entry under evidence.settings for {_named(missing)}")


def _check_comparison(config: "Config") -> None:
    comparison = config.comparison
    twice = comparison.baseline in comparison.estimators
    _require(not twice, f"comparison.estimators: {comparison.baseline} is the baseline itself")
    limit = EVIDENCE[CERTIFIED][2]
    for dataset, sizes in comparison.sizes.items():
        where = f"comparison.sizes.{dataset}.n_latent"
        _require(
            sizes.n_latent <= limit, f"{where}: {CERTIFIED} certifies at most {limit:g} latent dimensions"
        )


def _check_warm_up(config: "Config") -> None:
    """Searches and runs must go beyond the warm-up, in which no weight moves: a search would choose among equals, and
    a run's start would pass for its end."""
    own = {
        name
        for where in (*get_args(Figure), "full_vb")
        for grid in config.grids(where).values()
        for name in grid.estimators
    }
    lengths = [
        (f"estimators.{name}.search_samples", name, config.estimators[name].search_samples)
        for name in sorted(own)
    ]
    lengths += [
        (f"comparison.search_samples.{dataset}", name, config.comparison.search_samples[dataset])
        for dataset, grid in config.grids("comparison").items()
        for name in grid.estimators
    ]
    names: list[Figure | Study] = [*get_args(Figure), *get_args(Study)]
    lengths += [
        (f"scales.{config.scale}.samples.{where}", name, config.budget.budget(where, dataset))
        for where in names
        for dataset, grid in config.grids(where).items()
        for name in grid.estimators
        if dataset in config.datasets
    ]
    idle = {name: of.warm_up * config.training.batch_size for name, of in config.estimators.items()}
    short = {where: idle[name] for where, name, length in lengths if 0 < idle[name] >= length}
    waits = f"ends within the warm-up, which takes {max(short.values(), default=0)} samples"
    _require(not short, f"{', '.join(short)}: such a run {waits}; make it longer")


def _check_gradients(config: "Config") -> None:
    followed = {cell.dataset for cell in config.gradient_cells()}
    for dataset in {*config.datasets} & {*config.gradients.runs}:
        trains = f"no figure trains {GradientJob.REFERENCE} of these sizes on all of {dataset}"
        _require(dataset in followed, f"gradients.runs.{dataset}: {trains}")


def _check_grid(config: "Config", name: Figure | Study, dataset: Dataset, grid: GridConfig) -> None:
    where = f"figures.{name}.{dataset}" if name in get_args(Figure) else f"{name}: {dataset}"
    for estimator in grid.estimators:
        _require(
            estimator in config.estimators, f"{where}: estimator '{estimator}' has no entry under estimators"
        )
    size = DATASETS[dataset].n_train
    for n_train in grid.n_train or ():
        _require(n_train <= size, f"{where}: n_train {n_train} exceeds the {size} points of {dataset}")
    if name in ("figure2", "figure4", "figure5"):
        _require(len(grid.n_train or (1,)) == 1, f"{where}.n_train: its panels have one, so name one or null")
    if name == "figure3":
        _require(
            len(grid.n_latent) == 1, f"{where}.n_latent: its panels differ in n_train alone, so name one"
        )
        followed = config.evidence.along_training
        _require(CERTIFIED in followed, f"evidence.along_training: Figure 3 shows {CERTIFIED}, so name it")
        for estimator in followed:
            limit = EVIDENCE[estimator][2]
            most = f"{estimator} takes at most {limit} latent dimensions"
            _require(max(grid.n_latent) <= limit, f"{where}.n_latent: {most}")
    if name == "figure4":
        _require(grid.n_latent == (2,), f"{where}.n_latent: a manifold needs [2]")
        _require(len(grid.estimators) == 1, f"{where}.estimators: one manifold is drawn, so name one")
    if name == "figure5":
        _require(
            len(grid.estimators) == 1, f"{where}.estimators: one method's samples are drawn, so name one"
        )
    if dataset in config.datasets:
        _check_entries(config, name, dataset)


def _check_entries(config: "Config", name: Figure | Study, dataset: Dataset) -> None:
    """What the chosen datasets' figures look up elsewhere."""
    _require(dataset in config.models, f"models.{dataset} is missing")
    _require(dataset in config.step_size.n_latent, f"step_size.n_latent.{dataset} is missing")
    for scale_name, scale in config.scales.items():
        samples = scale.samples.get(name, {})
        there = name in scale.samples and (not isinstance(samples, dict) or dataset in samples)
        _require(there, f"scales.{scale_name}.samples.{name} is missing or has no budget for {dataset}")


def _named(keys: set[str]) -> str:
    """Also a key that is empty, as YAML's "": 1 is."""
    return ", ".join(key or "''" for key in sorted(keys))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
