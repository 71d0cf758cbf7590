"""Estimates of the ELBO and of its gradient against the closed form of probabilistic PCA (row 2 of VERIFICATION.md).

An estimate is a function (model, params, x (M, B, D), eps (M, L, B, N_z)) -> (M, B), as in estimators/.
"""

import torch

from aevb import trees
from aevb.estimators import gradient
from aevb.models import Params
from exact_ppca import PPCA
from helpers import assert_mean, generator

LINEAR = PPCA(n_features=6, n_hidden=1, n_latent=2)


def problem():
    """A decoder, an encoder far from its posterior, and four points of the model."""
    params = trees.stack([LINEAR.init(generator(0))])
    return params, LINEAR.sample(params.theta, generator(1), 4)[1]


def near_the_posterior():
    """As `problem`, with a decoder whose posterior is diagonal and an encoder half a nat or so away from it: weights
    p(x, z) / q(z | x) vary little, so that small errors of an estimate show."""
    params, x = at_the_posterior()
    phi = params.phi
    return params._replace(phi=phi | {"b_mu": phi["b_mu"] + 0.1, "b_log_var": phi["b_log_var"] + 0.5}), x


def at_the_posterior():
    """A decoder whose posterior is diagonal, so that the encoder can be it: every weight is p(x)."""
    theta = {"w_h": torch.zeros(1, 2, 6), "b_h": torch.linspace(-1, 1, 6).reshape(1, 1, 6)}
    theta["w_h"][0, 0, :3], theta["w_h"][0, 1, 3:] = 0.7, -1.1
    return Params(theta, LINEAR.best_encoder(theta)), LINEAR.sample(theta, generator(1), 4)[1]


def check_expectation(estimate, n_samples=1):
    """10 000 draws for each of four points."""
    params, x = problem()
    draws = 10_000
    eps = torch.randn(1, n_samples, 4 * draws, 2, generator=generator(2))
    values = estimate(LINEAR, params, x.repeat(1, draws, 1), eps).reshape(draws, 4)
    assert_mean(values, LINEAR.exact_elbo(params, x)[0])


def gradients(estimate, params, x, n_samples=1, copies=5000):
    """Gradients of the sum over x (1, B, D), by stacked copies each with its own noise: leaf -> (copies, ...)."""
    eps = torch.randn(copies, n_samples, x.shape[1], 2, generator=generator(3))
    many = trees.concatenate([params] * copies)
    xs = x.expand(copies, -1, -1)
    return trees.leaves(gradient(lambda p: estimate(LINEAR, p, xs, eps).sum(-1), many)[1])


def assert_means(draws, expected):
    """Each leaf's draws (copies, ...) have the mean `expected` (1, ...); what has no noise is equal to it."""
    for name, leaf in draws.items():
        noisy = leaf.std(0) > 1e-9  # the KL's part has no noise, and some coordinates have no other
        if noisy.any():
            assert_mean(leaf[:, noisy], expected[name][0][noisy])
        torch.testing.assert_close(leaf[0][~noisy], expected[name][0][~noisy], rtol=1e-9, atol=1e-9)


def check_gradient(estimate, n_samples=1, problem=problem):
    """The mean gradient of 5000 stacked copies, each with its own noise, is the gradient of the exact ELBO."""
    params, x = problem()
    _, exact = gradient(lambda p: LINEAR.exact_elbo(p, x).sum(-1), params)
    assert_means(gradients(estimate, params, x, n_samples), trees.leaves(exact))
