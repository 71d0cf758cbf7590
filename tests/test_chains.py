"""studies/chains.py puts draws together as the paper means it, and as the authors' published library does."""

import math

import pytest
import torch

import chains
from aevb.evidence import appendix_d

N, POINTS, LATENT = 50, 40, 3  # draws, data points, dimensions


def draws(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact ones from Gaussian posteriors: z (N, 1, B, N_z), log p(x, z) (N, 1, B) and log p(x) (B,)."""
    generator = torch.Generator().manual_seed(seed)
    mean, log_px = (
        torch.randn(POINTS, LATENT, generator=generator).double(),
        torch.linspace(-60, -140, POINTS),
    )
    sd = 0.1 + torch.rand(POINTS, LATENT, generator=generator).double()
    eps = torch.randn(N, 1, POINTS, LATENT, generator=generator).double()
    log_q = (-0.5 * (eps.square() + math.log(2 * math.pi)) - sd.log()).sum(-1)
    return mean + sd * eps, log_px + log_q, log_px


def read_entry_by_entry(z: torch.Tensor, log_joint: torch.Tensor) -> list[float]:
    """The published order, from flat arrays: draws are its last index, points the one before, in both."""
    half = N // 2
    flat_z = [float(z[s, 0, b, d]) for d in range(LATENT) for b in range(POINTS) for s in range(N)]
    flat_joint = [float(log_joint[s, 0, b]) for b in range(POINTS) for s in range(N)]
    values = []
    for b in range(POINTS):
        columns = [flat_z[row * N : (row + 1) * N] for row in range(b * LATENT, (b + 1) * LATENT)]
        points = torch.tensor(columns).double().T.reshape(N, 1, 1, LATENT)
        log_q = appendix_d.kernel_density(points[:half], points[half:])[0].flatten()
        taken = torch.tensor(flat_joint[half * POINTS + b * half :][:half]).double()
        values.append(-float(torch.logsumexp(log_q - taken, 0) - math.log(half)))
    return values


def test_the_published_order_entry_by_entry() -> None:
    z, log_joint, _ = draws()
    found = chains.as_published(z, log_joint)
    assert found.tolist() == pytest.approx(read_entry_by_entry(z, log_joint), abs=1e-4)  # floats there


def test_the_published_order_reports_less_and_of_the_last_half_of_the_points() -> None:
    """Exact draws: what it loses to the right order on the same points is many standard errors, over 20 seeds."""
    lost, of_all = [], []
    for seed in range(20):
        z, log_joint, log_px = draws(seed)
        right, published = chains.reported(z, log_joint), chains.as_published(z, log_joint).mean()
        lost.append(published - right[POINTS // 2 :].mean())
        of_all.append(published - log_px.mean())
    mean, error = torch.stack(lost).mean(), torch.stack(lost).std() / 20**0.5
    assert mean < -5 * error
    assert torch.stack(of_all).mean() < -20  # where the last half of the points is harder
