"""evidence/refused.py: a point that the sampler refuses gets its integral, and nothing else moves."""

import pytest
import torch

from aevb import trees
from aevb.evidence import Evidence, Refusal, appendix_d, quadrature, refused
from aevb.models import BernoulliModel
from helpers import equal, generator, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")

N_POINTS = 6
REFUSALS = {0: Refusal.HEAVY_TAIL, 2: Refusal.UNMIXED, 3: Refusal.STUCK, 5: Refusal.NOT_FINITE}
CHANGED = ("estimate", "std_error", "refusal")


def models(n_latent):
    """Two models, their points, and evidence of which the second's is refused as REFUSALS says."""
    model = BernoulliModel(n_features=8, n_hidden=5, n_latent=n_latent)
    params = trees.stack([scramble(model.init(generator(seed)), seed) for seed in (0, 1)])
    x = (torch.rand(N_POINTS, 8, generator=generator(2)) < 0.5).to(torch.get_default_dtype())
    result = Evidence(*(torch.full((2, N_POINTS), 7.0, dtype=torch.float64) for _ in Evidence._fields))
    refusal = torch.zeros(2, N_POINTS, dtype=torch.float64)
    refusal[1, list(REFUSALS)] = torch.tensor([float(value) for value in REFUSALS.values()]).double()
    return model, params, x, result._replace(refusal=refusal)


def integrated(model, params, x, result):
    return refused.integrated(model, params, x, result, [generator()] * 2)


def test_a_refused_point_has_the_value_of_its_own_models_integral(monkeypatch):
    model, params, x, before = models(2)
    exact = quadrature.evidence(model, params, x, [generator()] * 2)

    def check(_):
        after, where = integrated(model, params, x, before)
        assert where.tolist() == [[False] * N_POINTS, [point in (0, 2, 3) for point in range(N_POINTS)]]
        torch.testing.assert_close(after.estimate[where], exact.estimate[where], rtol=0, atol=1e-9)
        assert (after.std_error[where] < 1e-4).all()
        assert (after.refusal[where] == Refusal.NONE).all()

    check(None)
    right = trees.take
    with monkeypatch.context() as patch:
        patch.setattr(refused.trees, "take", lambda tree, m: right(tree, 0))
        rejects(check, "the first model's weights")


def test_nothing_else_moves():
    model, params, x, before = models(2)
    kept = Evidence(*(field.clone() for field in before))
    after, where = integrated(model, params, x, before)
    for name in Evidence._fields:
        assert equal(getattr(before, name), getattr(kept, name)), "the argument was written to"
        old, new = getattr(before, name), getattr(after, name)
        assert equal(new[~where], old[~where])
        assert name in CHANGED or equal(new, old)
    assert after.refusal[1, 5] == Refusal.NOT_FINITE


def test_a_point_whose_integral_does_not_converge_stays_refused_as_it_was(monkeypatch):
    model, params, x, before = models(2)
    monkeypatch.setattr(quadrature, "REFINEMENTS", 1)
    after, where = integrated(model, params, x, before)
    assert not where.any()
    assert all(map(equal, after, before))


def test_more_dimensions_than_can_be_integrated_are_left_alone():
    model, params, x, before = models(4)
    after, where = integrated(model, params, x, before)
    assert not where.any()
    assert all(map(equal, after, before))


def test_appendix_d_and_the_integral_agree_where_both_are_to_be_had():
    """So a mean over points of both kinds is a mean of one quantity."""
    model, params, x, _ = models(2)
    sampled = appendix_d.evidence(model, params, x, [generator(3), generator(4)])
    exact = quadrature.evidence(model, params, x, [generator()] * 2)
    error = (sampled.estimate - exact.estimate) / sampled.std_error
    assert not sampled.refused.any()
    assert error.abs().max() < 5
