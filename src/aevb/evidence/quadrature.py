"""log p(x) as an integral over z, by the trapezoid rule: the exact answer, for at most three latent dimensions.

    log p(x) ~ log |det A| + logsumexp_k log p(x, z = A k),    k integers

For a smooth density the error falls faster than any power of the spacing (Trefethen & Weideman 2014). A coarse
lattice over a box, shared by all points, finds where a posterior has mass. From there each point has its own: axes
along the posterior's, nodes where the density is not negligible, the spacing divided by sqrt 2 until two lattices in
succession agree. Posteriors of trained decoders are often bent or have several modes,
of which one grid scaled by the Laplace approximation would see one, as if it were straight.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from aevb import UserError, trees
from aevb.distributions import standard_normal_log_prob
from aevb.evidence import Evidence, Refusal, in_chunks
from aevb.evidence.nodes import log_likelihood
from aevb.models import Model, Params, Weights

DIRECTION = "exact"
MAX_LATENT = 3
RADIUS = 6.0  # of the coarse lattice; the others go on where there is mass outside
SPACING = {1: 1 / 64, 2: 1 / 16, 3: 1 / 4}  # of the coarse lattice, of 1e5 nodes at most
HIDDEN = 4.0  # nats: half such a spacing away from a mode whose standard deviation is a sixth of it
REFINEMENTS = 12
MAX_NODES = 500_000  # of one lattice of one point
POINTS = 100  # data points at a time on the coarse lattice: 100 MB
BASE = 2**21  # a node's indices are the digits of an int64: three, each of so many values

LogJoint = Callable[[Tensor], Tensor]  # z (G, N_z) -> log p(x, z) of one data point, (G, 1)


def evidence(
    model: Model, params: Params, x: Tensor, generators: list[torch.Generator], tolerance: float = 1e-4
) -> Evidence:
    """log p(x) of every point: x (B, D), weights of M models, one generator (unused) per model.

    tolerance: the change in nats between two lattices at which the finer one is believed. std_error is that change;
    the error is far smaller. Refused: points at which no two lattices agree, or a density is not finite. Beside a
    wider mode, one with a standard deviation below a sixth of the coarse spacing (.04 for N_z = 3, .01 for N_z = 2)
    may be missed.

    Raises UserError when N_z > 3: the number of nodes is exponential in it.
    """
    if model.n_latent > MAX_LATENT:
        raise UserError(
            f"Quadrature is refused for N_z = {model.n_latent}: it takes at most {MAX_LATENT} latent dimensions."
        )
    theta = {name: weight.double() for name, weight in params.theta.items()}

    def estimate(x: Tensor) -> Evidence:
        rows = [_of_model(model, trees.take(theta, m), x, tolerance) for m in range(len(generators))]
        value, change, refusal = torch.tensor(rows, dtype=torch.float64, device=x.device).unbind(-1)
        nothing = Evidence.refuse(len(generators), x, Refusal.NONE)
        return nothing._replace(estimate=value, std_error=change, refusal=refusal)

    return in_chunks(x.double(), POINTS, estimate)


class Lattice(NamedTuple):
    """Nodes z (G, d) and log p(x, z) there (G,). A column of A (d, d) leads to the next node."""

    axes: Tensor
    z: Tensor
    log_p: Tensor

    def integral(self) -> float:
        return (torch.logsumexp(self.log_p, 0) + torch.linalg.slogdet(self.axes).logabsdet).item()

    def where(self, chosen: Tensor) -> "Lattice":
        return Lattice(self.axes, self.z[chosen], self.log_p[chosen])

    def within(self, nats: float) -> "Lattice":
        """The nodes at most so far below the best."""
        return self.where(self.log_p > self.log_p.max() - nats)


def _of_model(
    model: Model, theta: Weights, x: Tensor, tolerance: float
) -> list[tuple[float, float, Refusal]]:
    """log p(x), the last change and the refusal at each point."""

    def log_joint(x: Tensor, z: Tensor) -> Tensor:
        return log_likelihood(model, theta, x, z)[0] + standard_normal_log_prob(z).unsqueeze(-1)

    h, n = SPACING[model.n_latent], math.ceil(RADIUS / SPACING[model.n_latent])
    axis = torch.arange(-n, n + 1).to(x) * h
    z = torch.cartesian_prod(*[axis] * model.n_latent).reshape(-1, model.n_latent)
    axes = h * torch.eye(model.n_latent).to(x)
    return [
        _integrate(partial(log_joint, point), Lattice(axes, z, log_p), tolerance)
        for point, log_p in zip(x.split(1), log_joint(x, z).unbind(1), strict=True)
    ]


def _integrate(log_joint: LogJoint, coarse: Lattice, tolerance: float) -> tuple[float, float, Refusal]:
    negligible = 7 - math.log(tolerance)  # nats: a Gaussian's tails beyond have 1 % of the tolerance
    last, change = coarse, math.inf
    for refinement in range(REFINEMENTS):
        if not torch.isfinite(last.log_p.max()):  # the maximum of numbers and NaN is NaN
            return math.nan, math.nan, Refusal.NOT_FINITE
        last = last.within(negligible + _hidden(last.axes))
        axes = _axes(last, 2 ** (-refinement / 2))
        finer = _flood(log_joint, last.z, axes, negligible + _hidden(axes))
        if finer is None:
            break
        # the coarse lattice is about as wide as the first, and can agree with it by accident
        if refinement > 0:
            change = abs(finer.integral() - last.integral())
        last = finer
        if change < tolerance:
            break
    integral = last.integral()
    # a plateau too low to be followed can be wide enough to matter; the coarse lattice sees it
    left_out = coarse.where(coarse.log_p < last.log_p.max() - negligible).integral()
    trusted = change < tolerance and left_out < integral + math.log(tolerance)
    return integral, change, Refusal.NONE if trusted else Refusal.UNCONVERGED


def _hidden(axes: Tensor) -> float:
    """How much higher than at its best node a narrow mode may be, in nats."""
    return HIDDEN * axes.square().sum().item() / SPACING[len(axes)] ** 2


def _axes(lattice: Lattice, step: float) -> Tensor:
    """Axes of the next lattice: the posterior's, `step` standard deviations long or `step` times the coarse spacing.

    A node stands for its cell, whose variance is added: a posterior narrower than a cell has none over the nodes.
    """
    weight = torch.softmax(lattice.log_p, 0)
    centred = lattice.z - weight @ lattice.z
    covariance = centred.T @ (weight.unsqueeze(-1) * centred) + lattice.axes @ lattice.axes.T / 12
    variance, directions = torch.linalg.eigh(covariance)
    return directions * (step * variance.clamp(1e-30, SPACING[len(variance)] ** 2).sqrt())


def _flood(log_joint: LogJoint, seeds: Tensor, axes: Tensor, depth: float) -> Lattice | None:
    """The nodes nearest to the seeds, and on to neighbours of nodes within `depth` nats of the best.

    None where they are more than MAX_NODES.
    """
    place = BASE ** torch.arange(len(axes), device=axes.device)
    nearest = torch.linalg.solve(axes, seeds.T).T.round().clamp(-BASE // 4, BASE // 4).long()
    front = seen = ((nearest + BASE // 2) * place).sum(-1).unique()
    best = torch.full((), -torch.inf).to(axes)
    z, log_p = [], []
    while len(front):
        if len(seen) > MAX_NODES:
            return None
        z.append((front.unsqueeze(-1) // place % BASE - BASE // 2).to(axes) @ axes.T)
        log_p.append(log_joint(z[-1]).squeeze(-1))
        best = torch.maximum(best, log_p[-1].max())
        inner = front[log_p[-1] > best - depth].unsqueeze(-1)
        beside = torch.cat([inner - place, inner + place]).unique()
        front = beside[torch.isin(beside, seen, invert=True)]
        seen = torch.cat([seen, front])
    return Lattice(axes, torch.cat(z), torch.cat(log_p))
