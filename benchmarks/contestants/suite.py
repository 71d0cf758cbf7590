"""This project: the engine that trains a cell, with one seed, and the HMC of its evidence."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from aevb import engine, estimators, hmc, models, processor, trees
from aevb.bounds import to_unit
from aevb.data import Split
from aevb.engine import Engine, Minibatches
from aevb.evidence.recorded import recorded
from aevb.models import Weights
from aevb.optimisers import adagrad
from aevb.streams import stream
from contestants import Outcome, Run
from workloads import STEP_SIZE, Workload, hmc_decoder

BLOCK = 100  # steps that share one random stream, as in training: 10 000 samples
TRANSITIONS = 10  # of HMC that share one
CPU = torch.device("cpu")


class Moved(NamedTuple):
    point: hmc.Point
    acceptance: torch.Tensor


def prepare(workload: Workload, split: Split) -> Run:
    processor.prepare(torch.get_num_threads())
    return _sampler(workload, split) if workload.task == "hmc" else _trainer(workload, split)


def stack(workload: Workload, split: Split, n_models: int, device: torch.device) -> Engine:
    """The engine that trains n_models seeds of the workload side by side."""
    sizes = (split.train.shape[1], workload.n_hidden, workload.n_latent)
    model = models.build(*sizes, workload.log_var_floor)
    optimiser = adagrad(torch.full((n_models,), STEP_SIZE, device=device))
    estimator = estimators.load(workload.estimator)(model, optimiser, len(split.train))
    points = to_unit(torch.from_numpy(split.train).to(device), split.scale)
    params = trees.stack([model.init(stream(device, seed, "weights")) for seed in range(n_models)])
    batches = Minibatches(estimator, points, workload.batch_size)
    return engine.build(batches, estimator.init(params), list(range(n_models)), BLOCK)


def _trainer(workload: Workload, split: Split) -> Run:
    trainer = stack(workload, split, 1, CPU)
    return _in_blocks(lambda n: trainer.train_block(n).bound.item() / BLOCK, BLOCK)


def _sampler(workload: Workload, split: Split) -> Run:
    x = to_unit(torch.from_numpy(split.test[: workload.n_points]), split.scale).unsqueeze(0)
    model = models.build(x.shape[-1], workload.n_hidden, workload.n_latent, None)
    weights = hmc_decoder(workload, x.shape[-1])
    theta: Weights = {name: torch.from_numpy(w).unsqueeze(0) for name, w in weights.items()}
    shape = (x.shape[1], workload.n_latent)
    step_size = torch.full((1, x.shape[1]), workload.leapfrog_size)

    def log_prob(z: torch.Tensor) -> torch.Tensor:
        return model.log_joint(theta, x, z.unsqueeze(1)).squeeze(1)

    def move(point: hmc.Point, noise: hmc.Noise) -> Moved:
        return Moved(*hmc.transition(log_prob, point, noise, step_size, workload.n_leapfrog))

    point = hmc.at(log_prob, torch.zeros(1, *shape))
    replay = recorded(move, point, trees.stack([hmc.draw_noise(stream(CPU, 0, "example"), shape)]))

    def block(n: int) -> float:
        nonlocal point
        generator = stream(CPU, 0, "noise", n)
        accepted = []
        for _ in range(TRANSITIONS):
            point, acceptance = replay(point, trees.stack([hmc.draw_noise(generator, shape)]))
            accepted.append(acceptance.mean())
        return torch.stack(accepted).mean().item()

    return _in_blocks(block, TRANSITIONS)


def _in_blocks(block: Callable[[int], float], size: int) -> Run:
    """A Run of whole blocks from `block(n)`, which does the n-th one and returns its mean value."""
    done = 0

    def run(n_steps: int) -> Outcome:
        nonlocal done
        values: list[float] = []
        while len(values) * size < n_steps:
            values.append(block(done))
            done += 1
        return Outcome(len(values) * size, sum(values) / len(values))

    return run
