"""What would the paper's estimator of log p(x) report for our runs of Figure 3? Its chains, and its library's arrays.

    python studies/chains.py POINTS RUN... > results/reference/chains_overnight.csv
    python studies/chains.py --page results/reference/chains_overnight.csv docs/deviations.md

POINTS: results/data/mnist.npz. RUN: folders of Figure 3's runs, such as results/runs/mnist/aevb/h100-z3-n50000/seed0,
whose store still holds the weights of their report points. The estimator is the paper's, one chain a point, 50 draws
of which the kernel density takes half, 90 % acceptance; but with ten leapfrog steps, as in the paper's Monte Carlo
EM, where its Appendix E has four for this. The chains

    kept       begin at the prior and go on from one report point to the next, five transitions before each, as in the
               authors' library
    published  are those of `kept`; their draws are put together as the library's published code does (`as_published`)
    fresh      begin at the prior at the report point itself, and warm up for 200 transitions
    encoder    begin at the encoder's mean there, and warm up as long

One row a run, split, kind of chains and report point that the paper's curve has from FIRST on: the mean difference
from the certified log p(x) of the same 1000 points in nats per data point, with its 95 % interval where both are of
the same point, beside the paper's value.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import figure3
import pages
from aevb import curves, data, hmc, models, store
from aevb.bounds import to_unit
from aevb.evidence import appendix_d, diagnostics, refused
from aevb.experiments import Cell
from aevb.intervals import half_width
from aevb.jobs.compute import run_store
from aevb.models import Model, Params
from aevb.streams import stream

FIRST = 25_000_000  # before it, chains that are kept pass and nothing is shown
POINTS = 1000  # the published code depends on how many there are
DRAWS, BURN_IN, WARM_UP, LEAPFROGS, ACCEPTANCE = 50, 5, 200, 10, 0.9
GAIN = 0.1  # of the step sizes' recursion
CPU = torch.device("cpu")
LINE = ["estimator", "n_train", "step_size", "samples", "split"]  # what identifies a line of the page


class Chains(NamedTuple):
    z: Tensor  # (1, B, N_z)
    log_step: Tensor  # (1, B)


def run_on(
    model: Model, params: Params, x: Tensor, chains: Chains, n: int, generator: torch.Generator
) -> tuple[Chains, Tensor, Tensor]:
    """n transitions for the points x (B, D): the chains, their z (n, 1, B, N_z) and log p(x, z) (n, 1, B)."""

    def log_prob(z: Tensor) -> Tensor:
        return model.log_joint(params.theta, x.unsqueeze(0), z.unsqueeze(1)).squeeze(1)

    point, log_step = hmc.at(log_prob, chains.z), chains.log_step
    draws = []
    for _ in range(n):
        noise = hmc.draw_noise(generator, tuple(point.z.shape))
        point, acceptance = hmc.transition(log_prob, point, noise, log_step.exp(), LEAPFROGS)
        log_step = log_step + GAIN * (acceptance.to(log_step) - ACCEPTANCE)
        draws.append(point)
    z = torch.stack([draw.z for draw in draws]).double()
    return Chains(point.z, log_step), z, torch.stack([draw.log_prob for draw in draws]).double()


def harmonic(log_q: Tensor, log_joint: Tensor) -> Tensor:
    """log p(x) (B,) from log q(z) and log p(x, z) of draws (n, 1, B): 1/p(x) is the mean of q(z) / p(x, z)."""
    return diagnostics.of_mean((log_q - log_joint).unsqueeze(1), -1).estimate[0]


def reported(z: Tensor, log_joint: Tensor) -> Tensor:
    """log p(x) (B,) as the paper reports it: half of the draws for the density, half to average over."""
    half = len(z) // 2
    return harmonic(appendix_d.kernel_density(z[:half], z[half:])[0], log_joint[half:])


def as_published(z: Tensor, log_joint: Tensor) -> Tensor:
    """B values, whose mean is what the authors' published library reports; z (n, 1, B, N_z), log_joint (n, 1, B).

    `estimate_mcmc_likelihood` of its hmc.py (`compute_mcmc_likelihood` before) reads two arrays in another order than
    they have, where it is given several points at once. z lies dimension by dimension, and is taken point by point: a
    density is fitted to N_z neighbouring rows, which are one dimension of as many points. log p(x, z) lies point by
    point, and of it the last half is taken: every draw of the last half of the points, not the last half of every
    point's draws.
    """
    n, _, n_points, n_latent = z.shape
    half = n // 2
    rows = z.permute(3, 2, 1, 0).reshape(n_points, n_latent, 1, n).permute(3, 2, 0, 1)
    taken = (
        log_joint.permute(2, 1, 0).flatten()[half * n_points :].view(n_points, 1, n - half).permute(2, 1, 0)
    )
    return harmonic(appendix_d.kernel_density(rows[:half], rows[half:])[0], taken)


def from_prior(model: Model, n_points: int, generator: torch.Generator) -> Chains:
    z = torch.randn(1, n_points, model.n_latent, generator=generator)
    return Chains(z, torch.full((1, n_points), hmc.INITIAL_STEP).log())


def estimates(
    model: Model, weights: dict[int, Params], x: Tensor, shown: set[int]
) -> Iterator[tuple[int, str, Params, Tensor]]:
    """(samples, chains, params, log p(x) (B,)) where shown; weights of every report point in their order."""
    generator = stream(CPU, 0, "chains")
    kept = from_prior(model, len(x), generator)
    for samples, params in weights.items():
        kept, _, _ = run_on(model, params, x, kept, BURN_IN, generator)
        kept, *draws = run_on(model, params, x, kept, DRAWS, generator)
        if samples not in shown:
            continue
        yield samples, "kept", params, reported(*draws)
        yield samples, "published", params, as_published(*draws)
        starts = {"fresh": from_prior(model, len(x), generator)}
        if params.phi:
            mean = model.encode(params.phi, x.unsqueeze(0))[0]
            starts["encoder"] = starts["fresh"]._replace(z=mean)
        for start, chains in starts.items():
            warm, _, _ = run_on(model, params, x, chains, WARM_UP, generator)
            yield samples, start, params, reported(*run_on(model, params, x, warm, DRAWS, generator)[1:])


def certified(model: Model, params: Params, x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """log p(x) of M models (M, B), NaN where it is refused; one generator per model."""
    result = appendix_d.evidence(model, params, x, generators)
    return refused.integrated(model, params, x, result, generators)[0].log_prob


def rows(split: data.Split, folder: Path, comparison: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """comparison: the table `paper_comparison`."""
    run = json.loads((folder / "cell.json").read_text())
    cell = Cell.model_validate(run["cell"])
    model = models.build(split.test.shape[1], **cell.model_sizes)
    home: store.RunStore = run_store(folder / "cell.json")
    points = sorted(int(path.stem.partition("-")[2]) for path in home.folder.glob("weights-*.safetensors"))
    weights = {n: models.stack_weights([home.load_weights(n).tensors], CPU) for n in points}
    paper = figure3.curve(comparison, cell.estimator, cell.n_train)["paper"]
    for name, levels in (("train", split.train[: cell.n_train]), ("test", split.test)):
        x = to_unit(torch.from_numpy(levels[:POINTS]), split.scale)
        truth: dict[int, Tensor] = {}
        shown = {samples for samples in paper[name].index if samples >= FIRST}
        for samples, chains, params, estimate in estimates(model, weights, x, shown):
            if samples not in truth:
                truth[samples] = certified(model, params, x, [stream(CPU, 0, "certified")])[0]
            row = {name: run[name] for name in ("seed", "step_size")} | {"samples": samples, "split": name}
            known = {"certified": truth[samples].mean().item(), "paper": paper[name, samples]}
            yield cell.identity | row | known | {"chains": chains} | against(estimate, truth[samples], chains)


def against(estimate: Tensor, truth: Tensor, chains: str) -> dict[str, float]:
    """The mean difference with its interval over points, of which the published code's values are not."""
    difference = estimate - truth
    mean, width = difference.mean().item(), half_width(difference.std().item(), len(truth)).item()
    if chains == "published":
        width = float("nan")
    return {"difference": mean, "ci_low": mean - width, "ci_high": mean + width}


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a run, split and number of samples."""
    kinds = ("kept", "published", "fresh", "encoder")
    lines = [
        "| run | samples | split | certified | the paper | kept while training | put together as published"
        " | fresh from the prior | from the encoder |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (method, n_train, step_size, samples, split), found in table.groupby(LINE, sort=False):
        by_kind = found.set_index("chains")
        run = f"{curves.method_name(method)}, N_train = {n_train}, step size {step_size:g}"
        certified, paper = found.iloc[0][["certified", "paper"]]
        cells = [run, f"{samples / 1e6:.0f} M", split, f"{certified:.1f}", f"{paper - certified:+.1f}"]
        cells += [_with_interval(by_kind.loc[kind]) if kind in by_kind.index else "" for kind in kinds]
        lines.append(f"| {' | '.join(cells)} |")
    off = [_rms(table, kind) for kind in (None, *kinds[:2])]
    lines.append(
        f"| differs from the paper by, root mean square | | | {off[0]:.1f} | | {off[1]:.1f} | {off[2]:.1f} | | |"
    )
    return "\n".join(lines)


def _rms(table: pd.DataFrame, kind: str | None) -> float:
    """Of what is reported less the paper's value over all lines; None: of the certified value."""
    at = table[table["chains"] == (kind or "kept")]
    off = at["certified"] + (at["difference"] if kind else 0.0) - at["paper"]
    return float((off**2).mean() ** 0.5)


def _with_interval(row: pd.Series) -> str:
    interval = "" if np.isnan(row["ci_low"]) else f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
    return f"{row['difference']:+.1f}{interval}"


def main(points: Path, folders: list[Path]) -> None:
    torch.set_num_threads(1)
    split, comparison = data.load(points), figure3.kept()
    frame = pd.DataFrame([row for folder in folders for row in rows(split, folder, comparison)])
    frame.to_csv(sys.stdout, index=False, float_format="%.4f")


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("chains", page, *sys.argv[2:])
    else:
        main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
