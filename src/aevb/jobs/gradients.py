"""Jobs that measure how noisy the estimators' gradients are along a run. Files in, files out."""

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from aevb import UserError, data, estimators, models, store
from aevb.bounds import to_unit
from aevb.experiments import GradientJob
from aevb.files import write_table
from aevb.gradients import Moments, at_a_time, covariance, draw, jackknife, moments, signal_to_noise
from aevb.jobs.compute import choose_device, kept_weights, run_store
from aevb.models import Model, Params
from aevb.streams import stream
from aevb.training import initial_weights

REFERENCE = GradientJob.REFERENCE
PARTS = ("encoder", "decoder")


class Measured(NamedTuple):
    """One estimator's gradient at one moment with one L."""

    parts: dict[str, Moments]
    seconds: float  # per draw


def gradients(job: GradientJob, points: Path, run: Path, output: Path, device: str, threads: int) -> None:
    """Every estimator's gradient at the moments of a run that the job names; run: its cell.json.

    The minibatch is the training set's first, the same for all; its noise depends on moment, L and draw alone, so
    that estimators of one L are compared on the same draws of z.
    """
    where = choose_device(device, threads)
    split = data.load(points)
    model = models.build(split.train.shape[1], **job.cell.model_sizes)
    folder = run_store(run)
    train = torch.from_numpy(split.train[: job.cell.n_train]).to(where)
    x = to_unit(train[: job.cell.batch_size], split.scale).unsqueeze(0)
    rows: list[dict[str, Any]] = []
    for samples in job.moments:
        params = weights_at(job, model, folder, samples, where)
        noise_of_data = _noise_of_data(job, model, params, train, split.scale, samples)
        for n_samples in job.n_samples:
            measured = dict(_measured(job, model, params, x, samples, n_samples))
            rows += _rows(job, samples, n_samples, measured, noise_of_data)
    write_table(output, pd.DataFrame(rows))


def weights_at(
    job: GradientJob, model: Model, folder: store.RunStore, samples: int, device: torch.device
) -> Params:
    """The run's weights (M = 1) after that many samples; at 0 those that training began with on such a device."""
    if samples == 0:
        return initial_weights(model, job.seed, device)
    return models.stack_weights([kept_weights(folder, samples).tensors], device)


def _measured(
    job: GradientJob, model: Model, params: Params, x: Tensor, samples: int, n_samples: int
) -> Iterator[tuple[str, Measured]]:
    """Of each estimator that takes this L: its moments at the minibatch x (1, B, D)."""
    for name in job.estimators:
        purpose = f"gradient-{samples}-{n_samples}"
        generators = [stream(x.device, job.seed, purpose, r) for r in range(job.draws)]
        build = partial(estimators.load(name), n_samples=n_samples)
        start = time.perf_counter()
        try:
            drawn = draw(build, model, params, x, generators, at_a_time(n_samples, x.shape[1]))
        except UserError as refusal:
            print(f"no row for n_samples = {n_samples}: {refusal}", file=sys.stderr)
            continue
        found = {part: moments(drawn[part]) for part in PARTS}
        measured = Measured(found, (time.perf_counter() - start) / job.draws)
        ratios = {part: round(signal_to_noise(found[part])[0], 3) for part in PARTS}
        print(f"{name} at {samples}, n_samples = {n_samples}: signal to noise {ratios}", file=sys.stderr)
        yield name, measured


def _noise_of_data(
    job: GradientJob, model: Model, params: Params, train: Tensor, scale: float, samples: int
) -> dict[str, Tensor]:
    """The variance of SGVB-B's mean gradient from minibatch to minibatch, by pairs of draws that share one.

    It does not depend on L; the largest tells it best from the noise of z.
    """
    n_pairs, batch_size, n_samples = job.draws // 2, job.cell.batch_size, max(job.n_samples)
    chooser = stream(train.device, job.seed, "gradient-minibatches", samples)
    indices = torch.randint(len(train), (n_pairs, batch_size), generator=chooser, device=train.device)
    x = to_unit(train[indices], scale)
    purpose = f"gradient-of-minibatches-{samples}"
    generators = [stream(train.device, job.seed, purpose, r) for r in range(2 * n_pairs)]
    build = partial(estimators.load(REFERENCE), n_samples=n_samples)
    drawn = draw(build, model, params, torch.cat([x, x]), generators, at_a_time(n_samples, batch_size))
    return {part: covariance(*drawn[part].split(n_pairs)) for part in PARTS}


def _rows(
    job: GradientJob,
    samples: int,
    n_samples: int,
    measured: dict[str, Measured],
    noise_of_data: dict[str, Tensor],
) -> list[dict[str, Any]]:
    """A row for each part and estimator, at one moment with one L."""
    rows = []
    for part in PARTS:
        data_variance, data_error = jackknife(noise_of_data[part])
        for name, (parts, seconds) in measured.items():
            found = parts[part]
            norm, norm_error = jackknife(found.squared_norm)
            variance, variance_error = jackknife(found.variance)
            ratio, ratio_error = jackknife(found.variance / measured[REFERENCE].parts[part].variance)
            snr, low, high = signal_to_noise(found)
            rows.append(
                job.cell.identity
                | {"seed": job.seed, "samples": samples, "part": part}
                | {"gradient_estimator": name, "n_samples": n_samples, "draws": job.draws}
                | {"squared_norm": norm, "squared_norm_error": norm_error}
                | {"variance": variance, "variance_error": variance_error}
                | {"relative_variance": ratio, "relative_variance_error": ratio_error}
                | {"snr": snr, "snr_low": low, "snr_high": high}
                | {"data_variance": data_variance, "data_variance_error": data_error}
                | {"seconds_per_draw": seconds}
            )
    return rows
