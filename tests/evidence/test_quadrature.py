"""evidence/quadrature.py against exact evidence: PPCA, mixtures in closed form, dense grids, toys that sum to one."""

import math
from dataclasses import dataclass

import pytest
import torch
from scipy import integrate

from aevb import UserError, trees
from aevb.evidence import Refusal, quadrature
from aevb.models import BernoulliModel, GaussianModel, Model
from aevb.ppca import PPCA
from helpers import CPU, CUDA, equal, generator, randn, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")

TIGHT = 1e-9


@pytest.fixture(autouse=True)
def give_up_early(monkeypatch):
    """Wrong variants never converge."""
    monkeypatch.setattr(quadrature, "MAX_NODES", 100_000)


def evidence(model, params, x, tolerance=TIGHT):
    n_models = len(next(iter(params.theta.values())))
    return quadrature.evidence(model, params, x, [generator(m) for m in range(n_models)], tolerance)


# -------------------------------------------------------------------------------------------- problems and answers


def linear(n_latent, n_points, noise_log_var=-1.2):
    model = PPCA(n_features=6, n_hidden=1, n_latent=n_latent, noise_log_var=noise_log_var)
    params = trees.stack([model.init(generator(0))])
    return model, params, model.sample(params.theta, generator(1), n_points)[1][0]


def decoder(model, scale=1.5):
    """A decoder far from linear: its posteriors are bent, and some have two modes."""
    return scramble(trees.stack([model.init(generator(0))]), scale, seed=1)


@dataclass(frozen=True)
class Bumps(Model):
    """log p(x | z) = log sum_j exp(height_j - |z - centre_j|^2 / (2 sd_j^2)), whatever x and the weights are.

    log p = log sum_j exp(height_j) (2 pi sd_j^2)^(d/2) N(centre_j; 0, (1 + sd_j^2) I).
    """

    bumps: tuple[tuple[float, float, float], ...] = ()  # height, first coordinate of the centre, sd

    def at(self, z):
        centre = z.new_zeros(len(self.bumps), self.n_latent) + 0.1234
        centre[:, 0] = torch.tensor([c for _, c, _ in self.bumps])
        distance = (z.unsqueeze(-2) - centre).square().sum(-1)
        height, sd = (torch.tensor([bump[i] for bump in self.bumps]) for i in (0, 2))
        return torch.logsumexp(height - distance / (2 * sd.square()), -1)

    def exact(self):
        total = []
        for height, c, sd in self.bumps:
            square = c**2 + (self.n_latent - 1) * 0.1234**2
            log_volume = -0.5 * self.n_latent * math.log1p(1 / sd**2)
            total.append(height + log_volume - 0.5 * square / (1 + sd**2))
        return torch.logsumexp(torch.tensor(total), 0).item()


@pytest.fixture
def bumps(monkeypatch):
    """Evidence of a `Bumps`, which has no decoder to be seen through."""
    through_decoder = quadrature.log_likelihood

    def log_likelihood(model, theta, x, z):
        return (
            model.at(z).reshape(1, -1, 1) if isinstance(model, Bumps) else through_decoder(model, theta, x, z)
        )

    monkeypatch.setattr(quadrature, "log_likelihood", log_likelihood)

    def estimate(n_latent, *bumps, tolerance=TIGHT):
        model = Bumps(1, 1, n_latent, bumps)
        result = evidence(model, trees.stack([model.init(generator(0))]), torch.zeros(1, 1), tolerance)
        return result, model.exact()

    return estimate


def dense(model, params, x, n=2001, radius=8.0):
    """log p(x) by n nodes in each dimension, through the model's own log_joint: (B,)."""
    axis = torch.linspace(-radius, radius, n)
    z = torch.cartesian_prod(*[axis] * model.n_latent).reshape(-1, model.n_latent)
    log_joint = [
        torch.cat(
            [model.log_joint(params.theta, one[None, None], some[None, :, None]) for some in z.split(50000)],
            1,
        )
        for one in x
    ]
    cell = model.n_latent * torch.log(axis[1] - axis[0])
    return torch.stack([torch.logsumexp(one, 1)[0, 0] + cell for one in log_joint])


def assert_exact(result, expected, atol=1e-8):
    assert not result.refused.any()
    torch.testing.assert_close(result.log_prob[0], torch.as_tensor(expected).reshape(-1), rtol=0, atol=atol)


def with_patch(monkeypatch, name, wrong, estimate=evidence):
    """`estimate` with a part of the quadrature replaced."""

    def patched(*args):
        with monkeypatch.context() as patch:
            patch.setattr(quadrature, name, wrong)
            return estimate(*args)

    return patched


class NoVolume(quadrature.Lattice):
    def integral(self):
        return torch.logsumexp(self.log_p, 0).item()


# ------------------------------------------------------------------------------------------------- exact answers


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_the_evidence_of_ppca_is_exact(n_latent, monkeypatch):
    model, params, x = linear(n_latent, 2)
    expected = model.log_evidence(params.theta, x[None])

    def check(estimate):
        assert_exact(estimate(model, params, x), expected)

    check(evidence)
    flood, density = quadrature._flood, quadrature.standard_normal_log_prob
    rejects(
        check,
        with_patch(monkeypatch, "Lattice", NoVolume),
        with_patch(monkeypatch, "standard_normal_log_prob", lambda z: 0 * density(z)),  # no prior
        with_patch(
            monkeypatch, "standard_normal_log_prob", lambda z: -0.5 * z.square().sum(-1)
        ),  # not normalised
        with_patch(
            monkeypatch, "_flood", lambda f, seeds, axes, depth: flood(f, seeds, axes, 4.0)
        ),  # tails cut
        with_patch(monkeypatch, "_flood", lambda f, seeds, axes, depth: flood(f, seeds, 3 * axes, depth)),
        lambda model, params, x: evidence(model, params, x.flip(0)),  # another point's
        lambda model, params, x: evidence(model, params, x.float().round(decimals=3)),
    )


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_the_default_tolerance_is_kept_with_room_to_spare(n_latent):
    """The last change is a bound on the error of the lattice before, and the tails left out are 1 % of it."""
    model, params, x = linear(n_latent, 5)
    result = evidence(model, params, x, tolerance=1e-4)
    assert_exact(result, model.log_evidence(params.theta, x[None]), atol=1e-6)
    assert (result.std_error < 1e-4).all()


@pytest.mark.parametrize("kind", [BernoulliModel, GaussianModel], ids=["bernoulli", "gaussian"])
@pytest.mark.parametrize(("n_latent", "n"), [(1, 20001), (2, 801)])
def test_the_evidence_of_a_decoder_is_that_of_a_dense_grid(kind, n_latent, n, monkeypatch):
    extra = (-2.0,) if kind is GaussianModel else ()
    model = kind(8, 6, n_latent, *extra)
    params, x = decoder(model), torch.rand(6, 8, generator=generator(2))
    expected = dense(model, params, x, n)

    def check(estimate):
        assert_exact(estimate(model, params, x), expected)

    check(evidence)
    likelihood, flood = quadrature.log_likelihood, quadrature._flood
    rejects(
        check,
        with_patch(monkeypatch, "Lattice", NoVolume),
        with_patch(monkeypatch, "log_likelihood", lambda *a: likelihood(*a) / 8),  # a mean over pixels
        with_patch(monkeypatch, "_flood", lambda f, seeds, axes, depth: flood(f, -seeds[:1], axes, 1.0)),
    )


def test_the_evidence_of_a_decoder_is_that_of_scipys_quad():
    model = BernoulliModel(8, 6, 1)
    params, x = decoder(model), torch.rand(3, 8, generator=generator(2))

    def joint(z, one):
        return model.log_joint(params.theta, one[None, None], torch.full((1, 1, 1, 1), z)).exp().item()

    expected = [integrate.quad(joint, -8, 8, args=(one,), epsabs=0, epsrel=1e-11, limit=500)[0] for one in x]
    assert_exact(evidence(model, params, x), torch.tensor(expected).log())


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_the_probabilities_of_all_images_sum_to_one(n_latent):
    n_pixels = 5 if n_latent == 3 else 8
    model = BernoulliModel(n_pixels, 6, n_latent)
    x = torch.cartesian_prod(*[torch.arange(2.0)] * n_pixels)
    result = evidence(model, decoder(model), x, tolerance=1e-6)
    assert not result.refused.any()
    assert result.estimate.exp().sum().item() == pytest.approx(1, abs=1e-6)


# ------------------------------------------------------------------------------------ posteriors of difficult shapes


@pytest.mark.parametrize(
    ("n_latent", "shape"),
    [
        (1, [(0.0, -2.0, 0.01), (1.0, 1.5, 0.02)]),
        (2, [(0.0, -2.0, 0.05), (1.0, 1.5, 0.1)]),
        (3, [(0.0, -2.0, 0.08), (1.0, 1.5, 0.1)]),
    ],
)
def test_every_mode_counts(n_latent, shape, bumps, monkeypatch):
    def check(estimate):
        assert_exact(*estimate(n_latent, *shape), atol=1e-7)

    check(bumps)
    flood = quadrature._flood

    def from_the_best(log_joint, seeds, axes, depth):
        return flood(log_joint, seeds[[log_joint(seeds).argmax()]], axes, depth)

    rejects(check, with_patch(monkeypatch, "_flood", from_the_best, bumps))


def test_a_mode_that_the_coarse_lattice_hardly_sees_is_found_beside_a_wider_one(bumps, monkeypatch):
    """The narrow mode has nine tenths of the mass. At the coarse lattice's nodes it seems to have less than 0.1 %."""
    shape = [(0.0, -1.5, 0.3), (11.5, 2.125, 0.042)]

    def check(estimate):
        assert_exact(*estimate(3, *shape, tolerance=1e-4), atol=1e-5)

    check(bumps)
    within = quadrature.Lattice.within

    class Shallow(quadrature.Lattice):
        def within(self, nats):
            return within(self, 3.0)

    rejects(check, with_patch(monkeypatch, "Lattice", Shallow, lambda *a, **k: bumps(*a, **k)))


@pytest.mark.parametrize(("n_latent", "sd"), [(1, 1e-4), (2, 1e-3), (3, 1e-3)])
def test_a_posterior_far_narrower_than_the_coarse_spacing_is_found(n_latent, sd, bumps):
    assert_exact(*bumps(n_latent, (0.0, 0.7654, sd), tolerance=1e-6), atol=1e-6)


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_the_posterior_may_be_the_prior(n_latent):
    """Weights of zero: z is not used, and log p(x) = D log 1/2."""
    model = BernoulliModel(6, 3, n_latent)
    params = scramble(trees.stack([model.init(generator(0))]), 0.0)
    assert_exact(evidence(model, params, torch.ones(1, 6), 1e-6), -6 * math.log(2), atol=1e-7)


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_mass_outside_the_box_is_followed(n_latent):
    model, params, _ = linear(n_latent, 1, noise_log_var=-3.0)
    z = torch.full((1, 1, 1, n_latent), 7.5)
    x = model.decode(params.theta, z).mu.reshape(1, 6)
    assert_exact(evidence(model, params, x), model.log_evidence(params.theta, x[None]))


# ------------------------------------------------------------------------------------- stacks, chunks, precision


def test_models_of_a_stack_and_chunks_of_points_have_their_own_evidence(monkeypatch):
    model = PPCA(n_features=6, n_hidden=1, n_latent=2)
    params = trees.stack([model.init(generator(m)) for m in range(2)])
    x = model.sample(trees.take(params, 0).theta, generator(3), 5)[1][0]
    whole = evidence(model, params, x)
    exact = torch.stack([model.log_evidence(trees.take(params, m).theta, x[None]) for m in range(2)])
    assert all(field.shape == (2, 5) for field in whole)
    torch.testing.assert_close(whole.log_prob, exact, rtol=0, atol=1e-8)
    monkeypatch.setattr(quadrature, "POINTS", 2)  # 5 = 2 + 2 + 1
    torch.testing.assert_close(evidence(model, params, x).log_prob, whole.log_prob, rtol=0, atol=1e-9)


def test_it_is_computed_in_double_precision_whatever_it_is_given():
    model, params, x = linear(2, 3)
    single = trees.rebuild(params, {name: w.float() for name, w in trees.leaves(params).items()})
    result = evidence(model, single, x.float())
    assert result.estimate.dtype == torch.float64
    as_double = trees.rebuild(params, {name: w.double() for name, w in trees.leaves(single).items()})
    assert_exact(result, model.log_evidence(as_double.theta, x.float().double()[None]))


def test_no_draw_is_made_and_what_does_not_apply_is_nan():
    model, params, x = linear(1, 2)
    source = generator(5)
    before = source.get_state()
    result = quadrature.evidence(model, params, x, [source])
    assert torch.equal(source.get_state(), before)
    for name in ("ess", "largest_share", "log_range", "k_hat", "acceptance", "r_hat"):
        assert torch.isnan(getattr(result, name)).all()


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_on_a_device_it_is_the_same(device):
    model = BernoulliModel(8, 6, 2)
    params, x = decoder(model), torch.rand(3, 8, generator=generator(2))
    result = evidence(model, trees.to_device(params, device), x.to(device))
    assert result.estimate.device.type == device.type
    assert_exact(
        result._replace(**{n: f.cpu() for n, f in result._asdict().items()}), dense(model, params, x, 801)
    )


# ---------------------------------------------------------------------------------------------------- refusals


def test_more_than_three_latent_dimensions_are_refused():
    model = BernoulliModel(6, 3, 4)
    with pytest.raises(UserError, match="N_z = 4"):
        evidence(model, trees.stack([model.init(generator(0))]), torch.zeros(2, 6))


@pytest.mark.parametrize(("name", "value"), [("REFINEMENTS", 1), ("MAX_NODES", 3000), ("MAX_NODES", 10)])
def test_an_integral_that_still_changes_is_refused(name, value, monkeypatch):
    """One lattice agrees with nothing; of two, the second may be too large."""
    model, params, x = linear(3, 2)
    monkeypatch.setattr(quadrature, name, value)
    result = evidence(model, params, x)
    assert (result.refusal == Refusal.UNCONVERGED).all()
    assert not (result.std_error < TIGHT).any()


def test_a_wide_plateau_too_low_to_be_followed_is_refused(bumps):
    """An eighth of the mass lies 18 nats below a spike, over the whole box."""
    result, exact = bumps(3, (0.0, 0.0, 1e3), (18.0, 0.0, 0.005), tolerance=1e-4)
    assert result.estimate.item() < exact - 0.05, "the plateau is not seen"
    assert (result.refusal == Refusal.UNCONVERGED).all()


def test_a_density_that_is_not_finite_is_refused_and_the_other_points_are_not():
    model, params, x = linear(2, 5)
    bad = x.clone()
    bad[1], bad[2, 0], bad[4, 3] = torch.nan, 1e200, torch.inf  # no number; zero everywhere, twice
    result = evidence(model, params, bad)
    assert result.refusal.tolist() == [[0, Refusal.NOT_FINITE, Refusal.NOT_FINITE, 0, Refusal.NOT_FINITE]]
    kept = ~result.refused
    torch.testing.assert_close(
        result.estimate[kept], evidence(model, params, x).estimate[kept], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 1e300])
def test_a_diverged_model_is_refused_and_its_neighbours_are_not(broken):
    model = BernoulliModel(8, 6, 2)
    one = decoder(model)
    diverged = trees.rebuild(one, {n: torch.full_like(w, broken) for n, w in trees.leaves(one).items()})
    params, x = trees.concatenate([one, diverged, one]), torch.rand(2, 8, generator=generator(2))
    result = evidence(model, params, x)
    assert result.refused.tolist() == [[False] * 2, [True] * 2, [False] * 2]
    alone = evidence(model, one, x)
    assert equal(trees.take(result, 0), alone)
    assert equal(trees.take(result, 2), alone)


def test_a_part_of_the_density_may_be_zero():
    """A decoder so sure of itself that most z are impossible."""
    model, params, x = linear(2, 2, noise_log_var=-12.0)
    assert_exact(evidence(model, params, x, 1e-6), model.log_evidence(params.theta, x[None]), atol=1e-6)


def test_a_density_with_a_number_missing_is_refused(monkeypatch):
    """No number in a corner that matters to nobody: it still is no density."""
    model, params, x = linear(2, 2)
    whole = quadrature.log_likelihood

    def with_a_hole(model, theta, x, z):
        return torch.where((z > 5).all(-1).reshape(1, -1, 1), torch.nan, whole(model, theta, x, z))

    monkeypatch.setattr(quadrature, "log_likelihood", with_a_hole)
    assert (evidence(model, params, x).refusal == Refusal.NOT_FINITE).all()


def test_a_grey_pixel_is_allowed():
    model = BernoulliModel(8, 6, 1)
    params, x = decoder(model), torch.full((1, 8), 0.5)
    assert_exact(evidence(model, params, x), dense(model, params, x, 20001))


def test_evidence_far_below_the_smallest_number_does_not_underflow():
    """log p(x) of thousands of nats below zero, as of an image under a sharp decoder."""
    model, params, x = linear(2, 2)
    x = x + 100 * randn(1, 6, seed=3).double()
    expected = model.log_evidence(params.theta, x[None])
    assert (expected < -3000).all()
    assert_exact(evidence(model, params, x), expected, atol=1e-7)
