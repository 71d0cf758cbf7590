"""Jobs that hold the estimators of log p(x) against exact answers. Files in, files out."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from aevb import data, models, trees
from aevb.certification import COLUMNS, against, among_all, between, pooled, require, simulate
from aevb.evidence import Evidence, annealed, quadrature
from aevb.experiments import Cell, CertificationJob, ExactJob
from aevb.files import read_tables, write_table, write_text
from aevb.jobs.compute import choose_device, kept_weights, run_store, unit_points
from aevb.jobs.evidence import direction, estimator
from aevb.models import Model, Params
from aevb.ppca import PPCA
from aevb.streams import stream

Row = dict[str, Any]
Settings = dict[str, dict[str, int | float]]


def certify_exact(job: ExactJob, output: Path, device: str, threads: int) -> None:
    """Every estimator on points drawn from a probabilistic PCA model, whose log p(x) is known."""
    where = choose_device(device, threads)
    model = PPCA(job.n_features, 1, job.n_latent)
    params = trees.to_device(trees.stack([model.init(stream(torch.device("cpu"), 0, "ppca"))]), where)
    params = params._replace(phi=model.best_encoder(params.theta))
    _, x = simulate(model, params.theta, job.points, stream(where, 0, "ppca-points"))
    theta = {name: weight.double().cpu() for name, weight in params.theta.items()}
    truth = model.log_evidence(theta, x.double().cpu())
    named = {"problem": "probabilistic PCA", "reference": "exact", "n_latent": job.n_latent}
    results = _estimates(job.settings, model, params, x[0])
    rows = [
        named
        | {"evidence_estimator": name, "seconds_per_point": cost}
        | against(result, truth, direction(name))
        for name, result, cost in results
    ]
    write_table(output, pd.DataFrame(rows).reindex(columns=COLUMNS))


def certify_cell(
    job: CertificationJob, points: Path, run: Path, output: Path, device: str, threads: int
) -> None:
    """Every estimator on a trained model: against quadrature for N_z < 4, against each other, on simulated data.

    run: cell.json of the seed. The points are the first of the test set, on which nothing was chosen.
    """
    where = choose_device(device, threads)
    split = data.load(points)
    model = models.build(split.train.shape[1], **job.cell.model_sizes)
    folder = run_store(run)
    params = models.stack_weights([kept_weights(folder, job.samples).tensors], where)
    x = unit_points(split.test[: job.points], split, where)
    named = _named(job.cell, job.samples)
    rows = [
        *(named | row for row in on_test_points(job.settings, model, params, x)),
        *(named | row for row in on_simulated_points(job.settings, model, params, job.points, where)),
    ]
    write_table(output, pd.DataFrame(rows).reindex(columns=COLUMNS))


def on_test_points(settings: Settings, model: Model, params: Params, x: Tensor) -> Iterator[Row]:
    """Rows against quadrature where N_z allows it, and of the sandwich importance <= log p <= Appendix D."""
    results = {name: (result, cost) for name, result, cost in _estimates(settings, model, params, x)}
    named = {"problem": "test points"}
    if "quadrature" in results:
        exact = results["quadrature"][0]
        for name, (result, cost) in results.items():
            if name != "quadrature":
                row = against(result, exact.log_prob[0], direction(name))
                yield (
                    named
                    | {
                        "reference": "quadrature",
                        "evidence_estimator": name,
                        "seconds_per_point": cost,
                    }
                    | row
                )
    for low in ("importance", "annealed"):
        for high in ("appendix_d_robust", "appendix_d_paper"):
            if low in results and high in results:
                yield (
                    named
                    | {"reference": high, "evidence_estimator": low}
                    | between(results[low][0], results[high][0])
                )


def on_simulated_points(
    settings: Settings, model: Model, params: Params, n: int, device: torch.device
) -> Iterator[Row]:
    """Bidirectional Monte Carlo: the gap between annealing forward and in reverse encloses log p(x).

    Nothing where annealing is not among the estimators.
    """
    if "annealed" not in settings:
        return
    z, x = simulate(model, params.theta, n, stream(device, 0, "simulated"))
    chosen = {name: int(value) for name, value in settings["annealed"].items()}
    (forward, forward_cost), (reverse, reverse_cost) = (
        _timed(lambda: annealed.evidence(model, params, x[0], [stream(device, 0, "forward")], **chosen), n),
        _timed(lambda: annealed.reverse(model, params, x, z, [stream(device, 0, "reverse")], **chosen), n),
    )
    named = {"problem": "simulated points"}
    cost = {"seconds_per_point": forward_cost + reverse_cost}
    yield (
        named
        | {"reference": "annealed_reverse", "evidence_estimator": "annealed"}
        | cost
        | between(forward, reverse)
    )
    if "quadrature" in settings:
        exact = quadrature.evidence(model, params, x[0], [stream(device, 0, "")], **settings["quadrature"])
        for name, result, side in (("annealed", forward, "lower"), ("annealed_reverse", reverse, "upper")):
            yield (
                named
                | {"reference": "quadrature", "evidence_estimator": name}
                | against(result, exact.log_prob[0], side)
            )


def certification(inputs: list[Path], output: Path) -> None:
    """certification.csv: the parts in one table, by problem, with all decoders together in front."""
    frame = read_tables(inputs).sort_values(["problem", "reference"], kind="stable")
    decoders = frame[(frame["reference"] == "quadrature") & (frame["problem"] == "test points")]
    together = pooled(decoders).assign(problem="all decoders", reference="quadrature")
    table = pd.concat([together, frame], ignore_index=True).reindex(columns=COLUMNS)
    write_table(output, among_all(table))


def certified(certification: Path, output: Path) -> None:
    """Say that no row of certification.csv calls an estimator wrong, or which does.

    Raises UserError when one does.
    """
    table = pd.read_csv(certification)
    require(table)
    write_text(output, f"None of {len(table)} rows calls an estimator of log p(x) wrong.\n")


def _named(cell: Cell, samples: int) -> Row:
    return cell.identity | {"samples": samples}


def _estimates(
    settings: Settings, model: Model, params: Params, x: Tensor
) -> Iterator[tuple[str, Evidence, float]]:
    """Each estimator's result on x (B, D), and its seconds per point."""
    for name, chosen in settings.items():
        generators = [stream(x.device, 0, f"certify-{name}")]
        result, cost = _timed(lambda: estimator(name)(model, params, x, generators, **chosen), len(x))  # noqa: B023
        print(f"{name}: {cost:.3f} s a point", file=sys.stderr)
        yield name, result, cost


def _timed(estimate: Callable[[], Evidence], n: int) -> tuple[Evidence, float]:
    start = time.perf_counter()
    result = estimate()
    return result, (time.perf_counter() - start) / n
