"""Jobs that measure what the learned representations are worth. Files in, files out."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from aevb import data, models, representation, store
from aevb import labels as classes
from aevb import representation_table as table_module
from aevb.experiments import Job
from aevb.files import read_tables, write_table
from aevb.jobs.compute import choose_device, unit_points
from aevb.representation import Measured
from aevb.streams import stream


def prepare_labels(dataset: str, points: Path, cache: Path, output: Path) -> None:
    """Download and verify the labels of the images in `points`: results/data/{dataset}_labels.npz."""
    classes.save(classes.prepare(dataset, cache, data.load(points)), output)


def represent(
    job: Job, points: Path, labels: list[Path], weights: list[Path], output: Path, device: str, threads: int
) -> None:
    """A row of measures on the test points for each seed of a cell; none for a method without an encoder.

    weights: weights.safetensors of each of job.seeds, in their order; labels: empty where the dataset has none.
    """
    where = choose_device(device, threads)
    split = data.load(points)
    records = [store.read_weights(path) for path in weights]
    params = models.stack_weights([record.tensors for record in records], where)
    rows = []
    if params.phi:
        model = models.build(split.train.shape[1], **job.cell.model_sizes)
        x = unit_points(split.test, split, where)
        z, z_corrupted = (representation.encode(model, params.phi, seen).mean for seen in (x, _corrupted(x)))
        generators = [stream(where, seed, "reconstruction") for seed in job.seeds]
        values = {
            "reconstruction_error": representation.squared_errors(model, params.theta, z, x),
            "reconstruction_nats": representation.reconstruction_nats(model, params, x, generators),
            "denoising_error": representation.squared_errors(model, params.theta, z_corrupted, x),
        }
        measures = {name: representation.over_points(points) for name, points in values.items()}
        if labels:
            train = unit_points(split.train[: job.cell.n_train], split, where)
            known = representation.encode(model, params.phi, train).mean
            measures["latent_accuracy"] = _accuracy(known, z, classes.load(labels[0], split))
        units = representation.active_units(z)
        for m, (seed, record) in enumerate(zip(job.seeds, records, strict=True)):
            run = {"seed": seed, "samples": record.meta["samples"], "n_points": len(x)}
            rows.append(job.cell.identity | run | {"active_units": units[m].item()} | _columns(measures, m))
    write_table(output, pd.DataFrame(rows, columns=table_module.RUNS))


def yardstick(
    dataset: str, n_train: int, points: Path, labels: list[Path], output: Path, device: str, threads: int
) -> None:
    """What no model is needed for: the error of the mean training image as a guess of every point, the error of the
    corrupted points as they are, and the accuracy from pixels."""
    where = choose_device(device, threads)
    split = data.load(points)
    known, x = unit_points(split.train[:n_train], split, where), unit_points(split.test, split, where)
    guesses = {"mean_image_error": known.mean(0), "corruption_error": _corrupted(x)}
    measures = {
        name: representation.over_points(representation.mean_square(guess - x).unsqueeze(0))
        for name, guess in guesses.items()
    }
    if labels:
        named = classes.load(labels[0], split)
        measures["pixel_accuracy"] = _accuracy(known.unsqueeze(0), x.unsqueeze(0), named)
    row = {"dataset": dataset, "n_train": n_train} | _columns(measures, 0)
    write_table(output, pd.DataFrame([row], columns=table_module.YARDSTICKS))


def representation_table(cells: list[Path], yardsticks: list[Path], output: Path) -> None:
    """A row for each cell with an encoder: its seeds together, its yardsticks beside them."""
    write_table(output, table_module.table(read_tables(cells), read_tables(yardsticks)))


def _corrupted(x: Tensor) -> Tensor:
    """The same corruption for every model and seed: they have the same task, and the yardstick is that of all."""
    return representation.mask(x, representation.MASKED, stream(x.device, 0, "masking"))


def _accuracy(known: Tensor, points: Tensor, labels: classes.Labels) -> Measured:
    """Of the test points (M, B, K), by the training points known (M, N, K), the first of those with a label."""
    named, truth = (torch.from_numpy(part).to(points.device, torch.int64) for part in labels[:2])
    return representation.neighbour_accuracy(known, named[: known.shape[1]], points, truth)


def _columns(measures: dict[str, Measured], m: int) -> dict[str, Any]:
    """Model m's values and their errors."""
    errors = {f"{name}_std_error": measured.std_error[m].item() for name, measured in measures.items()}
    return {name: measured.mean[m].item() for name, measured in measures.items()} | errors
