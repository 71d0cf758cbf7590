"""Where do the chains of Appendix D start? What Figure 3 would show with plain HMC in place of ours, which jump.

    python benchmarks/chains.py POINTS RUN... > results/reference/chains_overnight.csv
    python benchmarks/chains.py --page results/reference/chains_overnight.csv docs/deviations.md

POINTS: results/data/mnist.npz. RUN: folders of Figure 3's runs, such as results/runs/mnist/aevb/h100-z3-n50000/seed0,
whose store still holds the weights of their report points. The estimator is the paper's, one chain a point, 50 draws
of which the kernel density takes half, 90 % acceptance; but with ten leapfrog steps, as in the paper's Monte Carlo
EM, where its Appendix E has four for this. The chains

    kept     begin at the prior and go on from one report point to the next, five transitions before each, as in the
             authors' library
    fresh    begin at the prior at the report point itself, and warm up for 200 transitions
    encoder  begin at the encoder's mean there, and warm up as long

One row a run, split, report point of SAMPLES and start: the mean difference from the certified log p(x) of the same
250 points in nats per data point, with its 95 % interval, and the share of points more than a nat too low.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

import pages
from aevb import curves, data, hmc, models, store
from aevb.bounds import to_unit
from aevb.evidence import appendix_d, diagnostics, refused
from aevb.experiments import Cell
from aevb.intervals import half_width
from aevb.jobs.compute import run_store
from aevb.models import Model, Params
from aevb.streams import stream

SAMPLES = (10_000_000, 63_000_000)
POINTS = 250
DRAWS, BURN_IN, WARM_UP, LEAPFROGS, ACCEPTANCE = 50, 5, 200, 10, 0.9
GAIN = 0.1  # of the step sizes' recursion
CPU = torch.device("cpu")
LINE = ["estimator", "n_train", "samples", "split"]  # what identifies a line of the page


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


def reported(z: Tensor, log_joint: Tensor) -> Tensor:
    """log p(x) (B,) as the paper reports it: half of the draws for the density, half to average over."""
    half = len(z) // 2
    log_q, _ = appendix_d.kernel_density(z[:half], z[half:])
    return diagnostics.of_mean((log_q - log_joint[half:]).unsqueeze(1), -1).estimate[0]


def from_prior(model: Model, n_points: int, generator: torch.Generator) -> Chains:
    z = torch.randn(1, n_points, model.n_latent, generator=generator)
    return Chains(z, torch.full((1, n_points), hmc.INITIAL_STEP).log())


def estimates(
    model: Model, weights: dict[int, Params], x: Tensor
) -> Iterator[tuple[int, str, Params, Tensor]]:
    """(samples, start, params, log p(x) (B,)) at SAMPLES; weights of every report point in their order."""
    generator = stream(CPU, 0, "chains")
    kept = from_prior(model, len(x), generator)
    for samples, params in weights.items():
        kept, _, _ = run_on(model, params, x, kept, BURN_IN, generator)
        kept, *draws = run_on(model, params, x, kept, DRAWS, generator)
        if samples not in SAMPLES:
            continue
        yield samples, "kept", params, reported(*draws)
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


def rows(split: data.Split, folder: Path) -> Iterator[dict[str, Any]]:
    cell = Cell.model_validate(json.loads((folder / "cell.json").read_text())["cell"])
    model = models.build(split.test.shape[1], **cell.model_sizes)
    home: store.RunStore = run_store(folder / "cell.json")
    points = sorted(int(path.stem.partition("-")[2]) for path in home.folder.glob("weights-*.safetensors"))
    weights = {n: models.stack_weights([home.load_weights(n).tensors], CPU) for n in points}
    for name, levels in (("train", split.train[: cell.n_train]), ("test", split.test)):
        x = to_unit(torch.from_numpy(levels[:POINTS]), split.scale)
        truth: dict[int, Tensor] = {}
        for samples, start, params, estimate in estimates(model, weights, x):
            if samples not in truth:
                truth[samples] = certified(model, params, x, [stream(CPU, 0, "certified")])[0]
            difference = estimate - truth[samples]
            mean, width = difference.mean().item(), half_width(difference.std().item(), len(x)).item()
            yield cell.identity | {
                "samples": samples,
                "split": name,
                "chains": start,
                "certified": truth[samples].mean().item(),
                "log_likelihood": estimate.mean().item(),
                "difference": mean,
                "ci_low": mean - width,
                "ci_high": mean + width,
                "share_low": (difference < -1).double().mean().item(),
            }


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line a run, split and number of samples."""
    lines = [
        "| run | samples | split | certified | kept while training | fresh from the prior | from the encoder |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for (method, n_train, samples, split), found in table.groupby(LINE, sort=False):
        by_start = found.set_index("chains")
        differences = [_with_interval(by_start.loc[start]) for start in ("kept", "fresh", "encoder")]
        run = f"{curves.method_name(method)}, N_train = {n_train}"
        certified = f"{found['certified'].iloc[0]:.1f}"
        lines.append(f"| {' | '.join([run, f'{samples / 1e6:.0f} M', split, certified, *differences])} |")
    return "\n".join(lines)


def _with_interval(row: pd.Series) -> str:
    return f"{row['difference']:+.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def main(points: Path, folders: list[Path]) -> None:
    torch.set_num_threads(1)
    split = data.load(points)
    frame = pd.DataFrame([row for folder in folders for row in rows(split, folder)])
    frame.to_csv(sys.stdout, index=False, float_format="%.4f")


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        pages.show("chains", page, *sys.argv[2:])
    else:
        main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
