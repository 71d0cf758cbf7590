"""generation.py: the grid of Figure 4 and the samples of Figure 5."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from aevb import UserError, trees
from aevb.distributions import Gaussian
from aevb.generation import manifold, random_samples
from aevb.models import BernoulliModel, Model
from helpers import generator, rejects, scramble


class Identity(Model):
    """A decoder whose mean is z itself."""

    def decode(self, theta, z):
        return Gaussian(z, torch.zeros_like(z))


MODEL, THETA = Identity(2, 1, 2), {"w": torch.zeros(1, dtype=torch.float64)}


def check_grid(draw):
    side = 5
    grid = draw(side)
    assert grid.shape == (side, side, 2)
    levels = [NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    for row in range(side):
        for column in range(side):
            # Appendix A: the first latent runs along a row, the second down the rows
            np.testing.assert_allclose(
                grid[row, column], [levels[column], levels[row]], rtol=1e-9, atol=1e-12
            )


def test_the_manifold_is_the_unit_square_through_the_inverse_gaussian_cdf():
    check_grid(lambda side: manifold(MODEL, THETA, side))
    rejects(
        check_grid,
        lambda side: manifold(MODEL, THETA, side).transpose(1, 0, 2),  # axes exchanged
        lambda side: manifold(MODEL, THETA, side)[::-1],
        lambda side: np.stack(
            np.meshgrid(*[np.linspace(-1.2815516, 1.2815516, side)] * 2), -1
        ),  # not through the CDF
    )


def test_the_corners_of_the_manifold_are_in_reading_order():
    grid = manifold(MODEL, THETA, 10)
    edge = NormalDist().inv_cdf(0.95)
    corners = [grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]]
    np.testing.assert_allclose(
        corners, [[-edge, -edge], [edge, -edge], [-edge, edge], [edge, edge]], rtol=1e-9
    )


def test_the_manifold_shows_decoder_means():
    model = BernoulliModel(6, 4, 2)
    theta = scramble(trees.stack([model.init(generator(0))])).theta
    grid = manifold(model, theta, 3)
    assert grid.shape == (3, 3, 6)
    centre = model.decode(theta, torch.zeros(1, 1, 1, 2)).mean[0, 0, 0]
    np.testing.assert_allclose(grid[1, 1], centre, rtol=1e-5)


def test_a_manifold_of_other_than_two_dimensions_is_refused():
    with pytest.raises(UserError, match="not 3"):
        manifold(BernoulliModel(6, 4, 3), {}, 3)


def test_random_samples_decode_draws_from_the_prior():
    def check(draws):
        n = len(draws)
        assert np.abs(draws.mean(0)).max() < 5.5 / math.sqrt(n)
        assert np.abs(np.cov(draws.T) - np.eye(2)).max() < 5.5 * math.sqrt(2 / n)

    draws = random_samples(MODEL, THETA, 20_000, generator(1))
    assert draws.shape == (20_000, 2)
    check(draws)
    rejects(check, 1.1 * draws, draws + 0.1)
    assert (draws == random_samples(MODEL, THETA, 20_000, generator(1))).all()
