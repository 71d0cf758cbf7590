"""Jobs that compute: data, step sizes, training. Files in, files out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import aevb
from aevb import builds, data, floor, gpu, models, processor, store
from aevb.bounds import to_unit
from aevb.experiments import Job, Search
from aevb.files import write_table, write_text
from aevb.progress import Progress
from aevb.schedule import BLOCK
from aevb.stack import Member, Run
from aevb.training import Trainer

CURVE_COLUMNS = ["samples", "split", "bound", "seconds"]


def prepare_data(dataset: str, cache: Path, output: Path) -> None:
    """Download, verify, split: results/data/{dataset}.npz."""
    data.save(data.prepare(dataset, cache), output)


def step_size(
    search: Search, points: Path, store_root: Path, output: Path, device: str, threads: int
) -> None:
    """Train the candidate step sizes side by side and choose the one with the best training performance.

    The criterion is the fresh training bound at the end of the search, its mean over the search's seeds; for a method
    without a bound, the objective its last step ascended. A candidate that diverged with any seed is never chosen.
    """
    trainer = Trainer(search.cell, data.load(points), choose_device(device, threads), store_root, ("train",))
    progress = Progress(f"step size of {search.cell.path}", search.samples)
    runs = trainer.train(members(search), search.samples, progress=progress)
    frame = pd.DataFrame([_candidate(search, run) for run in runs])
    sound = frame.groupby("step_size").filter(lambda rows: not rows["diverged"].any())
    if sound.empty:
        raise aevb.UserError(
            f"Every candidate step size {list(search.candidates)} diverged for {search.cell.path}: "
            "put smaller ones into step_size.candidates of config.yaml."
        )
    best = sound.groupby("step_size")["value"].mean().idxmax()
    write_table(output, frame.assign(chosen=frame["step_size"] == best))


def members(search: Search) -> list[Member]:
    """The runs of a search: each candidate with each seed."""
    return [Member(seed, candidate) for candidate in search.candidates for seed in search.seeds]


def _candidate(search: Search, run: Run) -> dict[str, Any]:
    """A candidate at the search's end, however far a longer search has trained it.

    Raises UserError for a method without a bound that was trained further: its objective is known where it stands.
    """
    bounds = [row for row in run.trace.rows if row["split"] == "train"]
    # a full-batch iteration is whole: its report may stand a little behind the end
    end = next((row for row in bounds if row["samples"] >= search.samples), bounds[-1] if bounds else None)
    trace = run.trace
    # a run ends within a block, or a step that is longer, of where it was to end
    if not end and trace.samples - search.samples >= max(BLOCK, trace.samples / trace.step):
        raise aevb.UserError(
            f"{run.store.folder} was trained to {trace.samples:,} samples by a longer search, and what it had "
            f"reached at {search.samples:,} is not known: move this folder away to train it anew, or make the search "
            f"as long as that was (estimators.{search.cell.estimator}.search_samples, of a comparison "
            "comparison.search_samples)."
        )
    samples = end["samples"] if end else trace.samples
    criterion, value = ("train_bound", end["bound"]) if end else ("log_joint", trace.surrogate)
    return search.cell.identity | {
        "step_size": run.member.step_size,
        "seed": run.member.seed,
        "samples": samples,
        "criterion": criterion,
        "value": value,
        "diverged": trace.lost_by(samples) or not np.isfinite(value),
    }


def train(
    job: Job, points: Path, step_sizes: Path, store_root: Path, output: Path, device: str, threads: int
) -> None:
    """Train a cell's seeds and write seed{S}/curve.csv, weights.safetensors and cell.json below `output`."""
    trainer, runs = trained(job, points, step_sizes, store_root, choose_device(device, threads))
    for run in runs:
        folder = output / f"seed{run.member.seed}"
        weights = kept_weights(run.store, job.samples)
        rows = [row for row in run.trace.rows if row["samples"] <= weights.meta["samples"]]
        curve = pd.DataFrame(rows, columns=CURVE_COLUMNS)
        write_table(folder / "curve.csv", curve)
        store.export_weights(folder / "weights.safetensors", weights)
        record = _provenance(trainer, run, weights.meta) | {"on_floor": _on_floor(trainer, weights)}
        write_text(folder / "cell.json", json.dumps(record, indent=1))


def trained(
    job: Job, points: Path, step_sizes: Path, store_root: Path, device: torch.device
) -> tuple[Trainer, list[Run]]:
    """A cell's seeds, trained as one stack with the step size that the search has chosen."""
    trainer = Trainer(job.cell, data.load(points), device, store_root)
    [chosen] = pd.read_csv(step_sizes).query("chosen")["step_size"].unique().tolist()
    members = [Member(seed, chosen) for seed in job.seeds]
    progress = Progress(job.cell.path, job.samples)
    return trainer, trainer.train(members, job.samples, job.snapshots, progress)


def _provenance(trainer: Trainer, run: Run, meta: dict[str, Any]) -> dict[str, Any]:
    """All that the run depended on, and what it cost."""
    cell, trace = trainer.cell, run.trace
    lost = trace.lost_by(meta["samples"])
    return cell.identity | {
        "seed": run.member.seed,
        "step_size": run.member.step_size,
        "samples": meta["samples"],
        "seconds": meta["device_seconds"],
        "samples_per_second": meta["samples"] / meta["device_seconds"],
        "joules": meta["joules"],
        "diverged": lost,
        "diverged_at": trace.diverged_at if lost else None,
        "diverged_step": trace.diverged_step if lost else None,
        "diverged_tensor": trace.diverged_tensor if lost else None,
        "device": "+".join(trace.devices),
        "threads": trace.builds[-1]["threads"],
        "cell": cell.model_dump(mode="json"),
        "data": trainer.data.digest,
        "numerics": trainer.numerics,
        "store": run.store.folder.as_posix(),
        "versions": builds.versions(trace.builds),
    }


def _on_floor(trainer: Trainer, weights: store.Record) -> float | None:
    params = models.stack_weights([weights.tensors], trainer.device)
    x = unit_points(trainer.data.test, trainer.data, trainer.device)
    return floor.share_on_floor(trainer.model, params, x)


def unit_points(levels: np.ndarray, split: data.Split, device: torch.device) -> Tensor:
    """Points of a data set (B, D), given as its levels, as the models see them."""
    return to_unit(torch.from_numpy(levels).to(device), split.scale)


def choose_device(name: str, threads: int) -> torch.device:
    """The device a job computes on; `threads` are those of a CPU.

    Raises UserError when cuda is asked for and there is none, and when there is one that torch cannot use.
    """
    processor.prepare(threads)
    if name == "cpu" or torch.cuda.is_available():
        return torch.device("cpu" if name == "cpu" else "cuda")
    if gpu.visible():  # with auto, jobs were planned for it, one at a time
        raise aevb.UserError(
            f"The driver shows a GPU, and torch {torch.__version__} (CUDA: {torch.version.cuda}) cannot use it: "
            "install a build of torch for it and a driver that is new enough, or take device: cpu."
        )
    if name == "cuda":
        raise aevb.UserError("device: cuda was asked for, and torch sees no GPU. Use device: auto or cpu.")
    return torch.device("cpu")


def run_store(run: Path) -> store.RunStore:
    """Where the run lives whose cell.json that is."""
    return store.RunStore(Path(json.loads(run.read_text())["store"]))


def kept_weights(run: store.RunStore, samples: int) -> store.Record:
    """The weights that a run kept at that point of its training.

    Raises UserError when it kept none.
    """
    weights = run.load_weights(samples)
    if weights is None:
        raise aevb.UserError(
            f"{run.folder} kept no weights at {samples:g} samples: it was first trained for another figure or "
            "scale. Move the folder away, and the run's cell.json below results/, to train it anew."
        )
    return weights
