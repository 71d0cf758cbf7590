"""representation.py: measures with exact answers on probabilistic PCA, neighbours against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from aevb import representation, trees
from aevb.distributions import Gaussian
from aevb.models import BernoulliModel, GaussianModel, Params
from aevb.representation import (
    ACTIVE,
    CHUNK,
    NEIGHBOURS,
    SEARCH_CHUNK,
    active_units,
    encode,
    majority,
    mask,
    mean_square,
    neighbour_accuracy,
    over_points,
    reconstruction_nats,
    squared_errors,
)
from exact_ppca import PPCA
from helpers import assert_mean, generator, randn, rejects, scramble

MODEL = PPCA(n_features=6, n_hidden=1, n_latent=2)
VARIANCE = math.exp(MODEL.noise_log_var)


@pytest.fixture
def two():
    """Two PPCA models with the best encoder of each, and points of the first that do not fill whole chunks."""
    params = trees.stack([MODEL.init(generator(seed)) for seed in (0, 1)])
    best = [MODEL.best_encoder({name: w[m : m + 1] for name, w in params.theta.items()}) for m in range(2)]
    params = params._replace(phi=trees.concatenate(best))
    _, x = MODEL.sample(one(params, 0).theta, generator(2), 2 * CHUNK + 17)
    return params, x[0]


def projections(theta):
    """I - R of one model: decoding the posterior's mean leaves (I - R)(x - b), R = W'S W / s^2 with W (N_z, D)."""
    w = theta["w_h"][0]
    inside = torch.linalg.inv(torch.eye(len(w)) + w @ w.T / VARIANCE)
    return torch.eye(MODEL.n_features) - w.T @ inside @ w / VARIANCE, theta["b_h"][0, 0]


def one(params, m):
    return trees.take(params, m)


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.usefixtures("double")
def test_reconstruction_of_ppca_is_a_projection(two):
    params, x = two

    def check(errors):
        for m in range(2):
            left, b = projections(one(params, m).theta)
            torch.testing.assert_close(errors[m], ((x - b) @ left).square().mean(-1))

    def errors(z, points):
        return squared_errors(MODEL, params.theta, z, points)

    z = encode(MODEL, params.phi, x).mean
    assert errors(z, x).shape == (2, len(x))
    check(errors(z, x))
    rejects(
        check,
        errors(z.flip(0), x),  # of the other model
        errors(z, x.roll(1, 0)),  # of another point
        errors(encode(MODEL, params.phi, x).sample(randn(*z.shape)), x),  # of a draw and not of the mean
        MODEL.n_features * errors(z, x),  # summed over pixels
        errors(z, x).sqrt(),
    )


@pytest.mark.usefixtures("double")
def test_the_mean_error_of_ppca_is_a_trace(two):
    # x ~ N(b, C): E |(I - R)(x - b)|^2 / D = tr((I - R) C (I - R)) / D with C = W'W + s^2 I
    params, _ = two
    params = one(params, 0)
    _, x = MODEL.sample(params.theta, generator(5), 4000)
    left, _ = projections(params.theta)
    w = params.theta["w_h"][0]
    trace = (left @ (w.T @ w + VARIANCE * torch.eye(MODEL.n_features)) @ left).trace() / MODEL.n_features

    def check(values):
        measured = over_points(values)
        assert measured.mean.shape == measured.std_error.shape == (1,)
        assert abs(measured.mean - trace) < 5.5 * measured.std_error
        assert measured.std_error < 0.03 * trace

    values = squared_errors(MODEL, params.theta, encode(MODEL, params.phi, x[0]).mean, x[0])
    check(values)
    rejects(check, values.sqrt(), 1.2 * values, values[:, :40])


def test_the_standard_error_is_that_of_the_mean():
    values = randn(200, 50)  # 200 means of 50 points
    assert_mean(over_points(values).std_error.square(), torch.tensor(1 / 50, dtype=torch.float64))
    assert over_points(values).mean.dtype == torch.float64


@pytest.mark.usefixtures("double")
def test_the_nats_of_reconstruction_are_the_bound_without_its_kl(two):
    params, x = two
    x = x[: CHUNK + 1]
    points = x.expand(2, -1, -1)
    exact = -MODEL.exact_elbo(params, points) - MODEL.encode(params.phi, points).kl()

    def check(draw):
        draws = torch.stack([draw([generator(2 * i), generator(2 * i + 1)]) for i in range(100)])
        assert_mean(draws, exact)

    check(lambda sources: reconstruction_nats(MODEL, params, x, sources))
    rejects(
        check,
        lambda sources: -reconstruction_nats(MODEL, params, x, sources),
        lambda sources: reconstruction_nats(MODEL, params, x, sources).flip(0),
        lambda sources: reconstruction_nats(MODEL, params, x.roll(1, 0), sources),
        lambda sources: (
            reconstruction_nats(MODEL, params, x, sources) + MODEL.encode(params.phi, points).kl()
        ),
        # the posterior's mean in place of a draw has too small an error
        lambda sources: (
            -MODEL.log_likelihood(
                params.theta, points, encode(MODEL, params.phi, x).mean.unsqueeze(1)
            ).squeeze(1)
        ),
    )


def test_a_models_nats_do_not_depend_on_its_place_in_the_stack(two):
    params, x = two
    both = reconstruction_nats(MODEL, params, x, [generator(3), generator(4)])
    alone = reconstruction_nats(MODEL, one(params, 1), x, [generator(4)])
    torch.testing.assert_close(both[1:], alone)


@pytest.mark.parametrize("model", [BernoulliModel(6, 4, 3), GaussianModel(6, 4, 3, -13.6)], ids=["b", "g"])
@pytest.mark.usefixtures("double")
def test_chunks_change_nothing(model, monkeypatch):
    params = scramble(trees.stack([model.init(generator(seed)) for seed in (0, 1)]))
    x = torch.rand(11, 6, generator=generator(1))

    def everything():
        z = encode(model, params.phi, x)
        classes = torch.arange(11) % 3
        return [
            *z,
            squared_errors(model, params.theta, z.mean, x),
            reconstruction_nats(model, params, x, [generator(0), generator(1)]),
            majority(z.mean, classes, z.mean),
        ]

    whole = everything()
    assert len(x) < min(CHUNK, SEARCH_CHUNK)
    monkeypatch.setattr(representation, "CHUNK", 4)
    monkeypatch.setattr(representation, "SEARCH_CHUNK", 3)
    for parts, expected in zip(everything(), whole, strict=True):
        torch.testing.assert_close(parts, expected)


# --------------------------------------------------------------------------------------------------- denoising


def test_a_mask_takes_the_same_number_of_pixels_from_every_point():
    x = 1 + torch.rand(4000, 20, generator=generator(0))

    def check(corrupted):
        lost = corrupted == 0
        assert (lost.sum(-1) == 5).all()
        assert torch.equal(corrupted[~lost], x[~lost])
        assert_mean(lost.double(), 0.25)  # every pixel alike
        pairs = (lost[:, 0] & lost[:, 1]).double()  # drawn without replacement: 5/20 4/19
        assert_mean(pairs, 1 / 19)

    check(mask(x, 0.25, generator(1)))
    rejects(
        check,
        x * (torch.rand(x.shape, generator=generator(1)) > 0.25),  # each pixel by itself
        torch.cat([torch.zeros(4000, 5), x[:, 5:]], 1),  # always the same ones
        mask(x, 0.5, generator(1)),
        mask(x, 0.25, generator(1)) + 0.1,
    )


def test_a_mask_is_a_function_of_its_generator():
    x = randn(30, 8)
    assert torch.equal(mask(x, 0.5, generator(1)), mask(x, 0.5, generator(1)))
    assert not torch.equal(mask(x, 0.5, generator(1)), mask(x, 0.5, generator(2)))
    assert torch.equal(mask(x, 1.0, generator(1)), torch.zeros_like(x))


def denoising(params, x, share):
    z = encode(MODEL, params.phi, mask(x, share, generator(7))).mean
    return squared_errors(MODEL, params.theta, z, x)


@pytest.mark.usefixtures("double")
def test_denoising_without_corruption_is_reconstruction(two):
    params, x = two
    reconstruction = squared_errors(MODEL, params.theta, encode(MODEL, params.phi, x).mean, x)

    def check(share):
        assert torch.equal(denoising(params, x, share), reconstruction)

    check(0.0)
    rejects(check, 0.25, 1.0)


@pytest.mark.usefixtures("double")
def test_denoising_of_ppca_is_exact(two):
    # decoding the posterior's mean of c gives b + R (c - b), held against the clean x
    params, x = two
    for m in range(2):
        left, b = projections(one(params, m).theta)
        c = mask(x, 0.5, generator(7))
        guess = b + (c - b) @ (torch.eye(MODEL.n_features) - left)

        def check(errors, guess=guess):
            torch.testing.assert_close(errors, mean_square(guess - x))

        check(denoising(params, x, 0.5)[m])
        z = encode(MODEL, params.phi, c).mean
        rejects(
            check,
            squared_errors(MODEL, params.theta, z, c)[m],  # against the corrupted point
            denoising(params, x, 0.3)[m],
        )


def test_the_corruptions_own_error_is_that_of_the_lost_pixels():
    x = torch.ones(10, 8)
    torch.testing.assert_close(mean_square(mask(x, 0.25, generator(0)) - x), torch.full((10,), 0.25))


# ------------------------------------------------------------------------------------------------ active units


@pytest.mark.usefixtures("double")
def test_the_active_units_of_ppca_are_those_whose_posterior_mean_varies():
    # orthogonal decoder weights of length l: Var_x(E[z|x]) = l^2 / (l^2 + s^2), above 0.01 where l^2 > s^2 / 99
    model = PPCA(n_features=5, n_hidden=1, n_latent=4)
    squares = VARIANCE / 99 * torch.tensor([0.0, 0.5, 2.0, 50.0])
    w = torch.eye(4, 5) * squares.sqrt().unsqueeze(-1)
    theta = {"w_h": w[None], "b_h": torch.zeros(1, 1, 5)}
    params = Params(theta, model.best_encoder(theta))
    _, x = model.sample(theta, generator(0), 20_000)
    means = encode(model, params.phi, x[0]).mean

    def check(units):
        assert units.tolist() == [2.0]

    check(active_units(means))
    q = encode(model, params.phi, x[0])
    rejects(
        check,
        active_units(q.sample(randn(*q.mu.shape))),  # draws vary by themselves
        active_units(means / 3),
        active_units(3 * means),
        active_units(means[:, :1].expand_as(means)),
    )


def test_active_units_are_counted_for_each_model():
    means = randn(3, 1000, 5)
    means[1, :, :2] *= 0.9 * math.sqrt(ACTIVE)
    means[2] = 7.0  # the same wherever x is
    assert active_units(means).tolist() == [5.0, 3.0, 0.0]
    means[0, 17, 2] = torch.inf
    assert active_units(means)[0].isnan()


# -------------------------------------------------------------------------------------------------- neighbours


def points_of_kinds(n, seed, kinds=4):
    """Two stacked sets of overlapping clusters, so that votes are split."""
    classes = torch.randint(kinds, (n,), generator=generator(seed))
    centres = 1.5 * randn(2, kinds, 3, seed=99).double()
    return centres[:, classes] + randn(2, n, 3, seed=seed).double(), classes


def test_neighbours_agree_with_scikit_learn():
    known, classes = points_of_kinds(300, seed=1)
    points, _ = points_of_kinds(2 * SEARCH_CHUNK + 5, seed=2)

    def check(elected):
        for m in range(2):
            judge = KNeighborsClassifier(NEIGHBOURS).fit(known[m].numpy(), classes.numpy())
            np.testing.assert_array_equal(elected[m].numpy(), judge.predict(points[m].numpy()))

    check(majority(known, classes, points))
    rejects(
        check,
        majority(known.flip(0), classes, points),
        majority(known, classes.roll(1), points),
        majority(known, classes, points * torch.tensor([1.0, 1.0, 3.0])),
        majority(known[:, :-50], classes[:-50], points),
    )


def test_one_neighbour_where_there_is_one():
    known = torch.tensor([[[0.0, 0.0]]])
    assert majority(known, torch.tensor([3]), randn(1, 4, 2)).tolist() == [[3, 3, 3, 3]]


def test_a_tie_goes_to_the_smallest_class():
    known = torch.arange(5.0).reshape(1, 5, 1)
    assert majority(known, torch.tensor([2, 2, 1, 1, 0]), torch.zeros(1, 1, 1)).tolist() == [[1]]


def test_accuracy_has_the_error_of_a_binomial_share():
    known = torch.tensor([[[-1.0], [1.0]]]).repeat_interleave(5, 1)
    classes = torch.tensor([0, 1]).repeat_interleave(5)
    points = torch.tensor([-2.0, -1.0, 1.0, 3.0]).reshape(1, 4, 1)
    measured = neighbour_accuracy(known, classes, points, torch.tensor([0, 0, 1, 0]))
    assert measured.mean.tolist() == [0.75]
    assert measured.std_error.tolist() == pytest.approx([math.sqrt(0.75 * 0.25 / 4)])


def test_latent_neighbours_of_ppca_know_the_class_that_moved_them(two):
    # the class shifts z; seen through x by the best encoder it is still there, and pixels shuffled it is not
    params, _ = two
    params = one(params, 0)
    classes = torch.arange(1200) % 2
    z = randn(1, 1, 1200, 2) + 6 * classes.unsqueeze(-1)
    x = MODEL.decode(params.theta, z).sample(randn(1, 1, 1200, 6, seed=1))[0, 0]

    def check(seen):
        means = encode(MODEL, params.phi, seen).mean
        measured = neighbour_accuracy(means[:, :600], classes[:600], means[:, 600:], classes[600:])
        assert measured.mean.item() > 0.95

    check(x)
    rejects(check, x.roll(1, 0) * torch.rand(1200, 1, generator=generator(2)), torch.zeros_like(x))


def test_a_diverged_model_has_no_accuracy_and_leaves_the_others_theirs():
    known, classes = points_of_kinds(50, seed=1)
    known[1] = torch.nan
    measured = neighbour_accuracy(known, classes, known, classes)
    assert measured.mean.isnan().tolist() == measured.std_error.isnan().tolist() == [False, True]


def test_the_mean_of_an_encoder_is_kept_apart_from_its_spread(two):
    params, x = two
    q = encode(MODEL, params.phi, x)
    assert isinstance(q, Gaussian)
    torch.testing.assert_close(q.mu, MODEL.encode(params.phi, x.expand(2, -1, -1)).mu)
