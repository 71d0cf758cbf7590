"""evidence/mixture.py: its density and draws against torch.distributions, its fit where the answer is known."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from aevb.evidence import mixture
from aevb.evidence.mixture import RIDGE, Mixture, fit
from helpers import assert_close, assert_mean, generator, parameter_count, randn, rejects

pytestmark = pytest.mark.usefixtures("double")


def made_up(m=2, b=3, k=4, n=2, seed=0):
    """Components with correlations, of different weights and widths."""
    noise = randn(4, m, b, k, n, n, seed=seed).double()
    root = torch.linalg.cholesky(0.5 * noise[0] @ noise[0].mT + 0.1 * torch.eye(n))
    log_weight = torch.log_softmax(noise[1, ..., 0, 0], -1)
    return Mixture(log_weight, 2 * noise[2, ..., 0], root, torch.linalg.inv(root))


def reference(q):
    components = MultivariateNormal(q.mean, scale_tril=q.root)
    return MixtureSameFamily(Categorical(logits=q.log_weight), components)


def changed(**changes):
    """q with some of its fields turned into others."""
    return lambda q: q._replace(**{name: change(getattr(q, name)) for name, change in changes.items()})


# ------------------------------------------------------------------------------------------ density and draws


def check_log_prob(alter):
    for n in (1, 2, 4):
        q = made_up(n=n)
        z = 3 * randn(20, 2, 3, n, seed=1).double()
        log_prob = alter(q).log_prob(z)
        torch.testing.assert_close(log_prob, reference(q).log_prob(z), rtol=1e-10, atol=1e-10)


def test_the_density_is_that_of_a_mixture_of_gaussians():
    check_log_prob(lambda q: q)
    rejects(
        check_log_prob,
        changed(whiten=lambda w: w.mT),
        changed(whiten=lambda w: w * w.abs()),  # sigma^2 for sigma
        changed(log_weight=torch.zeros_like),  # components counted in full
        changed(log_weight=torch.exp),
        changed(root=lambda r: r @ r.mT),  # the volume of sigma^2
        changed(mean=lambda mean: mean.flip(0)),
    )


@pytest.mark.parametrize("n", [1, 2])
def test_the_density_integrates_to_one(n):
    q = made_up(m=1, b=1, n=n)
    nodes = torch.linspace(-25, 25, 501)
    grid = torch.cartesian_prod(*[nodes] * n).reshape(-1, 1, 1, n)
    total = q.log_prob(grid).exp().sum() * (nodes[1] - nodes[0]) ** n
    assert total.item() == pytest.approx(1, abs=1e-8)


def check_draws(alter):
    """Means and second moments, coordinate by coordinate, of 20,000 draws."""
    q = made_up()
    eps, u = randn(20_000, 2, 3, 2, seed=2).double(), torch.rand(20_000, 2, 3, generator=generator(3))
    z = alter(q, eps, u)
    weight = q.log_weight.exp()
    covariances = q.root @ q.root.mT + q.mean.unsqueeze(-1) * q.mean.unsqueeze(-2)
    assert_mean(z, torch.einsum("mbk,mbki->mbi", weight, q.mean))
    assert_mean(z.unsqueeze(-1) * z.unsqueeze(-2), torch.einsum("mbk,mbkij->mbij", weight, covariances))


def test_draws_have_the_moments_of_the_mixture():
    check_draws(lambda q, eps, u: q.sample(eps, u))
    uniform, exponential = changed(log_weight=lambda w: 0 * w - math.log(4)), changed(log_weight=torch.exp)
    rejects(
        check_draws,
        lambda q, eps, u: uniform(q).sample(eps, u),  # components alike
        lambda q, eps, u: exponential(q).sample(eps, u),
        lambda q, eps, u: changed(root=lambda r: r.mT)(q).sample(eps, u),
        lambda q, eps, u: changed(root=lambda r: r @ r.mT)(q).sample(eps, u),
        lambda q, eps, u: q.sample(eps, u[:1].expand_as(u)),  # one component for all draws
        lambda q, eps, u: q.sample(eps, torch.special.ndtr(eps[..., 0])),  # chosen by the same noise
    )


def test_a_component_is_chosen_for_every_u():
    """Weights that sum to a little less than one by rounding, or u at the ends of its range."""
    q = made_up(m=1, b=1, k=3)
    q = q._replace(log_weight=q.log_weight - 1e-9)
    u = torch.tensor([0.0, 1.0, 1 - 1e-12]).reshape(3, 1, 1)
    z = q.sample(torch.zeros(3, 1, 1, 2), u)
    torch.testing.assert_close(z[:, 0, 0], q.mean[0, 0, [0, 2, 2]])


def test_scaled_widens_every_component_about_its_mean():
    q = made_up()
    wide = q.scaled(2.25)
    torch.testing.assert_close(wide.root @ wide.root.mT, 2.25 * q.root @ q.root.mT)
    torch.testing.assert_close(wide.root @ wide.whiten, torch.eye(2).expand_as(q.root))
    assert torch.equal(wide.mean, q.mean)
    assert torch.equal(wide.log_weight, q.log_weight)


def test_parameters_are_counted():
    assert parameter_count(1, 1) == 2  # mean, variance
    assert parameter_count(1, 3) == 3 + 6
    assert parameter_count(3, 2) == 2 + 3 * (2 + 3)


# ---------------------------------------------------------------------------------------------------- the fit


def generators(n):
    return [generator(100 + m) for m in range(n)]


def check_one_component(fit):
    """The draws' mean and covariance (of n, not n - 1), and a hundred-thousandth of each variance besides."""
    z = randn(50, 2, 3, 2, seed=4).double() @ torch.tensor([[1.0, 0.8], [0.0, 0.3]]) + 2
    q = fit(z, 1, generators(2))
    centred = z - z.mean(0)
    covariance = torch.einsum("lmbi,lmbj->mbij", centred, centred) / 50
    ridge = RIDGE * torch.diag_embed(z.var(0))
    torch.testing.assert_close(q.mean[:, :, 0], z.mean(0), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close((q.root @ q.root.mT)[:, :, 0], covariance + ridge, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(q.root @ q.whiten, torch.eye(2).expand_as(q.root))
    torch.testing.assert_close(q.log_weight, torch.zeros(2, 3, 1))


def test_one_component_has_the_mean_and_covariance_of_the_draws():
    check_one_component(fit)
    rejects(
        check_one_component,
        lambda z, k, g: fit(z[:25], k, g),
        lambda z, k, g: fit(z.flip(2), k, g),  # another point's draws
        lambda z, k, g: fit(z, k, g).scaled(50 / 49),
        lambda z, k, g: fit(z.flip(-1), k, g),
    )


def covariance_of(z):
    """Of each point's draws, (L, M, B, N_z) -> (M, B, N_z, N_z), divided by L."""
    centred = z - z.mean(0)
    return torch.einsum("lmbi,lmbj->mbij", centred, centred) / len(z)


def check_separates(fit):
    """100 points; 60 draws of a wide mode, 140 of a narrow one 30 standard deviations away in both coordinates.

    Each draw belongs to one mode then, and shares, means and covariances are those of its draws, the covariances
    drawn towards the mean one as if by N_z + 2 = 4 more. k-means++ seldom puts both centres in one mode, and EM mends
    most of it; from centres or shares at random it does not.
    """
    z = randn(200, 1, 100, 2, seed=5).double()
    z[:60] *= 2
    z[60:] += 30
    q = fit(z, 2, generators(1))
    order = q.mean[..., 0].argsort(-1)
    weight = q.log_weight.exp().gather(-1, order)
    found = (weight[..., 0] - 0.3).abs() < 1e-6
    assert found.double().mean() > 0.9
    mean = q.mean.take_along_dim(order[..., None], 2)
    expected = torch.stack([z[:60].mean(0), z[60:].mean(0)], 2)
    torch.testing.assert_close(mean[found], expected[found], rtol=1e-6, atol=1e-6)
    own = torch.stack([covariance_of(z[:60]), covariance_of(z[60:])], 2)
    within = (0.3 * own[:, :, 0] + 0.7 * own[:, :, 1]).unsqueeze(2)
    count = torch.tensor([60.0, 140.0]).reshape(2, 1, 1)
    expected = (count * own + 4 * within) / (count + 4) + RIDGE * torch.diag_embed(z.var(0)).unsqueeze(2)
    covariance = (q.root @ q.root.mT).take_along_dim(order[..., None, None], 2)
    torch.testing.assert_close(covariance[found], expected[found], rtol=1e-5, atol=1e-5)


def test_two_modes_are_told_apart_with_their_shares_means_and_covariances(monkeypatch):
    check_separates(fit)

    def starting(shares):
        def wrong(z, k, generators):
            with monkeypatch.context() as patch:
                patch.setattr(mixture, "_first_shares", shares)
                return fit(z, k, generators)

        return wrong

    rejects(
        check_separates,
        starting(lambda z, k, g: torch.full((*z.shape[:3], k), 1 / k)),  # all alike, for ever
        starting(lambda z, k, g: torch.softmax(randn(*z.shape[:3], k).double(), -1)),
        lambda z, k, g: fit(z, 1, g)._replace(log_weight=torch.tensor([0.3, 0.7]).log().expand(1, 100, 2)),
        lambda z, k, g: changed(log_weight=lambda w: w.flip(-1))(fit(z, k, g)),
        lambda z, k, g: fit(z, k, g).scaled(1.1),
    )


def test_the_fit_goes_with_a_change_of_units_and_origin():
    """Each coordinate is taken in units of its own spread, so densities change by the volume alone."""
    z, new = randn(120, 2, 3, 2, seed=6).double().exp().split([100, 20])
    unit, origin = torch.tensor([1000.0, 0.01]), torch.tensor([-5.0, 3.0])
    plain = fit(z, 3, generators(2)).log_prob(new)
    other = fit(z * unit + origin, 3, generators(2)).log_prob(new * unit + origin)
    torch.testing.assert_close(other + unit.log().sum(), plain, rtol=1e-3, atol=1e-3)


def check_generalises(fit):
    """Draws of a mixture itself: of new ones the fit thinks as well as its 17 parameters allow, on average over 100
    points. 250 draws to fit cost about 17 / (2 x 250) nats, a single Gaussian several tenths."""
    root = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.5, 0.0], [0.0, 0.5]], [[0.3, 0.0], [-0.5, 1.0]]])
    mean, weight = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([0.6, 0.3, 0.1])
    fields = weight.log(), mean, root, torch.linalg.inv(root)
    truth = Mixture(*(field.expand(1, 100, *field.shape) for field in fields))
    z = truth.sample(randn(350, 1, 100, 2, seed=8).double(), torch.rand(350, 1, 100, generator=generator(9)))
    loss = (truth.log_prob(z[250:]) - fit(z[:250], 3, generators(1)).log_prob(z[250:])).mean(0)
    assert 0 < loss.mean().item() < 0.1


def test_what_is_fitted_describes_other_draws(monkeypatch):
    check_generalises(fit)
    rejects(
        check_generalises,
        lambda z, k, g: fit(z, 1, g),
        lambda z, k, g: fit(z[:20], k, g),
        lambda z, k, g: fit(z, k, g).scaled(2.0),
        lambda z, k, g: changed(log_weight=lambda w: w.flip(-1))(fit(z, k, g)),
    )
    monkeypatch.setattr(mixture, "ITERATIONS", 0)
    rejects(check_generalises, fit)


# ------------------------------------------------------------------------------------------- what is degenerate

DEGENERATE = {
    "all equal": lambda z: torch.ones_like(z),
    "all but one equal": lambda z: torch.where(torch.arange(100).reshape(-1, 1, 1) == 0, z, 3.0),
    "half equal": lambda z: torch.where(torch.arange(100).reshape(-1, 1, 1) < 50, z, 0.0),
    "on a line": lambda z: z[..., :1].expand_as(z),
    "on a steep line": lambda z: z[..., :1] * torch.tensor([1e-5, 1e4]),
    "very narrow": lambda z: 1 + 1e-10 * z,
}


@pytest.mark.parametrize("degenerate", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_draws_raise_nothing_and_leave_the_other_models_alone(degenerate):
    z = randn(100, 2, 3, 2, seed=10).double()
    well = fit(z, 3, generators(2))
    z[:, 0] = degenerate(z[:, 0])
    q = fit(z, 3, generators(2))
    assert all(torch.isfinite(field).all() for field in q)
    assert torch.isfinite(q.log_prob(z)).all()
    second = [Mixture(*(field[1] for field in fitted)) for fitted in (q, well)]
    assert_close(*second, rtol=1e-12, atol=1e-12)


def test_a_model_has_the_same_fit_wherever_it_stands_in_the_stack():
    z = randn(60, 2, 3, 2, seed=11).double()
    before = torch.random.get_rng_state()
    one, other = fit(z, 3, [generator(1), generator(2)]), fit(z.flip(1), 3, [generator(2), generator(1)])
    assert_close(one, Mixture(*(field.flip(0) for field in other)), rtol=1e-9, atol=1e-9)
    assert torch.equal(before, torch.random.get_rng_state())


def test_single_precision_draws_are_fitted_in_double():
    z = randn(60, 1, 3, 2, seed=12).float()
    q = fit(z, 3, generators(1))
    assert all(field.dtype == torch.float64 for field in q)
    assert_close(q, fit(z.double(), 3, generators(1)), rtol=0, atol=0)
