"""bounds.py: the evaluator's bound against the exact ELBO of probabilistic PCA."""

import pytest
import torch

from aevb import bounds, trees
from aevb.bounds import mean_elbo, to_unit
from aevb.estimators import aevb
from aevb.imports import PACKAGE, modules
from exact_ppca import PPCA
from helpers import SDS, generator, rejects

pytestmark = pytest.mark.usefixtures("double")

MODEL = PPCA(n_features=6, n_hidden=1, n_latent=2)


def problem(n_models=2, n_points=40):
    params = trees.stack([MODEL.init(generator(m)) for m in range(n_models)])
    # dark points first: a bound over some of them is another number
    points = torch.randint(0, 256, (n_points, 6), generator=generator(5)).sort(0).values.to(torch.uint8)
    return params, points


def check_bound(bound):
    """300 evaluations of 40 points by two models: their mean is the mean exact ELBO."""
    params, points = problem()
    draws = torch.stack(
        [bound(MODEL, params, points, 255.0, [generator(i), generator(1000 + i)]) for i in range(300)]
    )
    exact = MODEL.exact_elbo(params, (points.double() / 255).expand(2, -1, -1)).mean(-1)
    z = (draws.mean(0) - exact) / (draws.std(0) / 300**0.5)
    assert z.abs().max() < SDS


def test_the_mean_elbo_is_that_of_all_points_per_point():
    check_bound(mean_elbo)
    rejects(
        check_bound,
        lambda *args: mean_elbo(*args) * len(args[2]),  # a sum
        lambda model, params, points, scale, g: mean_elbo(model, params, points, 1.05 * scale, g),
        lambda model, params, points, scale, g: mean_elbo(model, params, points[:20], scale, g),
        lambda *args: mean_elbo(*args).flip(0),  # the models exchanged
    )


def test_the_bound_is_that_which_aevb_ascends_and_none_of_its_code():
    params, points = problem()
    seeds = (1, 2)
    eps = torch.stack([torch.randn(1, len(points), 2, generator=generator(seed)) for seed in seeds])
    ascended = aevb.elbo(MODEL, params, to_unit(points, 255.0).expand(2, -1, -1), eps).mean(-1)
    judged = mean_elbo(MODEL, params, points, 255.0, list(map(generator, seeds)))
    torch.testing.assert_close(judged, ascended, rtol=1e-12, atol=0)
    judges = modules("bounds", *(f"evidence/{path.stem}" for path in (PACKAGE / "evidence").glob("*.py")))
    assert [module for module in judges if module.startswith("estimators")] == []
    assert "estimators/aevb" in modules("estimators/full_vb"), "it would be seen"


def test_chunks_are_weighted_by_their_points(monkeypatch):
    monkeypatch.setattr(bounds, "CHUNK", 27)  # 40 = 27 + 13
    check_bound(mean_elbo)


def test_the_bound_depends_on_weights_and_generators_alone():
    params, points = problem()
    before = torch.random.get_rng_state()
    one = mean_elbo(MODEL, params, points, 255.0, [generator(1), generator(2)])
    assert torch.equal(one, mean_elbo(MODEL, params, points, 255.0, [generator(1), generator(2)]))
    assert torch.equal(before, torch.random.get_rng_state())
    alone = mean_elbo(MODEL, trees.take(params, 1), points, 255.0, [generator(2)])
    torch.testing.assert_close(one[1:], alone)


def test_grey_levels_become_fractions_of_the_scale():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_unit(levels, 255.0).tolist() == [0.0, 0.2, 1.0]
    assert to_unit(levels, 256.0)[-1] == 255 / 256
    assert levels.tolist() == [0, 51, 255]
