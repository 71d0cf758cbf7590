"""config.yaml, checked: the protocol, the training that it asks for, and how what was trained is judged."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from aevb import UserError, algorithms, consistency, strict_yaml
from aevb.experiments import (
    CERTIFIED,
    COMPARED,
    EVIDENCE,
    Cell,
    CertificationJob,
    CheckJob,
    EvidenceJob,
    EvidenceTask,
    ExactJob,
    GradientJob,
)
from aevb.plan import Plan
from aevb.schedule import snapshot_points


class Config(Plan):
    """config.yaml, checked. An unknown key or a wrong value is refused by name."""

    @model_validator(mode="after")
    def _sections_agree(self) -> "Config":
        consistency.check(self)
        return self

    def evidence_cells(self) -> list[Cell]:
        """The cells whose log p(x) is estimated: those of Figures 2 and 3."""
        return [cell for cell in self.all_cells() if self.has("figure2", cell) or self.has("figure3", cell)]

    def evidence_job(self, cell: Cell) -> EvidenceJob:
        job = self.job(cell)
        along = snapshot_points(job.samples)[:: -self.budget.evidence_every][::-1]
        followed = self.evidence.along_training if self.has("figure3", cell) else ()
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
        """Certified log p(x) of test points at the end of a comparison's runs, and the ELBO of the same points."""
        job = self.comparison_job(cell)
        tasks = tuple(
            EvidenceTask(name=name, settings=self.evidence.of(name), samples=(job.samples,))
            for name in COMPARED
        )
        points = self.budget.evidence_points
        return EvidenceJob(cell=cell, seeds=job.seeds, points=points, tasks=tasks, splits=("test",))

    def check_job(self, cell: Cell) -> CheckJob:
        """A cell of the paper's figures for the gate: log p(x) too, where Figure 3 shows it."""
        job = self.job(cell)
        task = EvidenceTask(name=CERTIFIED, settings=self.evidence.of(CERTIFIED), samples=(job.samples,))
        return CheckJob(
            cell=cell,
            samples=job.samples,
            snapshots=job.snapshots,
            evidence=task if self.has("figure3", cell) else None,
            points=self.budget.evidence_points,
            scale=self.scale,
            reference_seeds=self.budget.reference_seeds,
        )

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


def _with_added(raw: dict[str, Any]) -> dict[str, Any]:
    """An entry under `estimators` for each file or module under `add`, trained as the comparison's baseline is."""
    added, known, comparison = raw.get("add"), raw.get("estimators"), raw.get("comparison")
    sources = [part.strip() for part in added.split(",") if part.strip()] if isinstance(added, str) else added
    if not sources:
        return raw | {"add": ()}
    readable = isinstance(sources, list) and all(isinstance(source, str) for source in sources)
    if not (readable and isinstance(known, dict) and isinstance(comparison, dict)):
        return raw | {"add": sources}  # to be refused
    name = comparison.get("baseline")
    baseline = known.get(name) if isinstance(name, str) else None
    like = baseline if isinstance(baseline, dict) else {}
    entries = {algorithms.name_of(source): {**like, "settings": {}, "source": source} for source in sources}
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


def read(path: Path, **instead: Any) -> Config:
    """Read and check a configuration file; `instead`: sections in place of the file's.

    Raises UserError when it is no YAML mapping, gives a key twice, or is refused by `parse`.
    """
    return parse(strict_yaml.load(path) | instead)
