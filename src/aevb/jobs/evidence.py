"""Jobs that estimate log p(x) of trained models. Files in, files out."""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from aevb import data, models, store
from aevb.evidence import Evidence, refused
from aevb.experiments import CERTIFIED, EVIDENCE, EvidenceJob, EvidenceTask
from aevb.files import write_table
from aevb.jobs.compute import choose_device, kept_weights, run_store, unit_points
from aevb.kept import LIKELIHOODS
from aevb.models import Model
from aevb.streams import stream


def evidence(
    job: EvidenceJob, points: Path, runs: list[Path], output: Path, device: str, threads: int
) -> None:
    """Every estimator of log p(x) that the job names, at its points of the training; runs: cell.json of each seed."""
    where = choose_device(device, threads)
    split = data.load(points)
    folders = [run_store(path) for path in runs]
    model = models.build(split.train.shape[1], **job.cell.model_sizes)
    rows = []
    for task in job.tasks:
        seen: set[int] = set()
        for point in task.samples:
            weights = [kept_weights(folder, point) for folder in folders]
            # of runs that diverged at different points, what the last one saw
            samples = max(record.meta["samples"] for record in weights)
            # large EM steps cross several report points at once; their weights are evaluated once
            if samples not in seen:
                seen.add(samples)
                rows += _rows(job, task, model, split, weights, samples, where)
    write_table(output, pd.DataFrame(rows) if rows else pd.DataFrame(columns=LIKELIHOODS))


def _rows(
    job: EvidenceJob,
    task: EvidenceTask,
    model: Model,
    split: data.Split,
    weights: list[store.Record],
    samples: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """One estimator at one point of the training: a row for each split and seed."""
    params = models.stack_weights([record.tensors for record in weights], device)
    rows = []
    levels_of = {"train": split.train[: job.cell.n_train], "test": split.test}
    for name in job.splits:
        x = unit_points(levels_of[name][: job.points], split, device)
        generators = [stream(device, seed, f"{task.name}-{name}", samples) for seed in job.seeds]
        start = time.perf_counter()
        result = estimator(task.name)(model, params, x, generators, **task.settings)
        by_quadrature = torch.zeros_like(result.refused)
        if task.name == CERTIFIED:
            result, by_quadrature = refused.integrated(model, params, x, result, generators)
        cost = (time.perf_counter() - start) / (len(job.seeds) * len(x))
        for m, (seed, record) in enumerate(zip(job.seeds, weights, strict=True)):
            where = {"seed": seed, "split": name, "samples": samples, "seconds": record.meta["seconds"]}
            summary = result.summary(m, direction(task.name))
            rows.append(
                job.cell.identity
                | where
                | {"evidence_estimator": task.name}
                | summary
                | {"n_integrated": int(by_quadrature[m].sum()), "seconds_per_point": cost}
            )
        values = [round(result.estimate[m].mean().item(), 2) for m in range(len(weights))]
        print(f"{task.name} at {samples}, {name}: {values}", file=sys.stderr)
    return rows


def estimator(name: str) -> Callable[..., Evidence]:
    """(model, params, x, generators, **settings) -> Evidence."""
    module, function, _ = EVIDENCE[name]
    found: Callable[..., Evidence] = getattr(importlib.import_module(f"aevb.evidence.{module}"), function)
    return found


def direction(name: str) -> str:
    """The side on which the estimator's expectation lies."""
    side: str = importlib.import_module(f"aevb.evidence.{EVIDENCE[name][0]}").DIRECTION
    return side
