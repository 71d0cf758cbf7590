"""evidence/posterior.py: a jump leaves the posterior as it is; draws are those of a known one, modes included."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from aevb import UserError, hmc, trees
from aevb.distributions import standard_normal_log_prob
from aevb.evidence import diagnostics, mixture, nodes, posterior
from aevb.evidence.mixture import Mixture
from aevb.evidence.posterior import CHAINS, RESAMPLED
from aevb.models import BernoulliModel
from exact_ppca import PPCA
from helpers import SDS, assert_mean, equal, generator, randn, rejects, scramble

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def few_candidates(monkeypatch):
    monkeypatch.setattr(posterior, "CANDIDATES", 2**12)


def problem(n_latent, n_points, model=PPCA):
    model = model(n_features=6, n_hidden=1, n_latent=n_latent)
    params = trees.stack([model.init(generator(0))])
    return model, params, model.sample(params.theta, generator(1), n_points)[1][0]


def whiten(exact, z):
    """Draws (..., B, N_z) of a Gaussian posterior as draws from N(0, I)."""
    return torch.linalg.solve_triangular(
        exact.scale_tril, (z - exact.mean).unsqueeze(-1), upper=False
    ).squeeze(-1)


def unwhiten(exact, z):
    """The other way, (L, M, B, N_z)."""
    return exact.mean + torch.einsum("bij,lmbj->lmbi", exact.scale_tril, z)


# ---------------------------------------------------------------------------------------------------- the jump


def jump_with(ratio):
    """A jump that accepts where log u < ratio(log p(z')/p(z), log q(z')/q(z))."""

    def jump(log_prob, start, proposal, noise):
        z = proposal.sample(noise.eps.transpose(0, 1), noise.component.transpose(0, 1)).transpose(0, 1)
        end = hmc.at(log_prob, z)
        log_q, log_q_start = (proposal.log_prob(at.transpose(0, 1)).transpose(0, 1) for at in (z, start.z))
        accept = noise.u.log() < ratio(end.log_prob - start.log_prob, log_q - log_q_start)
        pairs = zip(end, start, strict=True)
        chosen = (torch.where(accept if a.dim() == 3 else accept.unsqueeze(-1), a, b) for a, b in pairs)
        return hmc.Point(*chosen), accept

    return jump


WRONG_JUMPS = {
    "no q": lambda p, q: p,
    "q upside down": lambda p, q: p + q,
    "p upside down": lambda p, q: -p - q,
    "always": lambda p, q: torch.zeros_like(p),
    "a hotter target": lambda p, q: 0.8 * p - q,
}


def test_a_jump_is_an_independence_metropolis_step():
    """The same decision as written out here, chain by chain."""
    log_prob = MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob
    proposal = mixture.fit(randn(50, 2, 5, 2, seed=1).double(), 2, [generator(m) for m in range(2)])
    start = hmc.at(log_prob, randn(2, 3, 5, 2, seed=2).double())
    noise = trees.stack([posterior.draw_noise(generator(m), (3, 5, 2)) for m in range(2)])
    moved, jumped = posterior.jump(log_prob, start, proposal, noise)
    expected, expected_jumped = jump_with(lambda p, q: p - q)(log_prob, start, proposal, noise)
    assert torch.equal(jumped, expected_jumped)
    assert 0 < jumped.sum() < 30, "both outcomes must occur"
    torch.testing.assert_close(tuple(moved), tuple(expected), rtol=1e-12, atol=1e-12)
    # target and gradient are those of where the chain stands
    torch.testing.assert_close(tuple(moved), tuple(hmc.at(log_prob, moved.z)), rtol=1e-12, atol=1e-12)


def check_jump_leaves_moments(jump):
    """Exact draws in, draws with the exact moments out: 50 points of PPCA, 100 chains each, five jumps with a
    proposal that is off, too wide here and too narrow there."""
    model, params, x = problem(2, 50)
    exact = model.posterior(params.theta, x[None])
    z = unwhiten(exact, randn(1, 100, 50, 2, seed=3).double())
    rough = unwhiten(exact, randn(200, 1, 50, 2, seed=4).double() * torch.tensor([1.6, 0.8]) + 0.4)
    proposal = mixture.fit(rough, 2, [generator(5)])

    def log_prob(z):
        return model.log_joint(params.theta, x[None], z)

    point, source, jumps = hmc.at(log_prob, z), generator(6), 0
    for _ in range(5):
        noise = trees.stack([posterior.draw_noise(source, (100, 50, 2))])
        point, jumped = jump(log_prob, point, proposal, noise)
        jumps += jumped.double().mean().item()
    assert jumps > 1
    deviations = whiten(exact, point.z).flatten(0, 2)
    assert_mean(deviations, 0.0)
    assert_mean(deviations.unsqueeze(-1) * deviations.unsqueeze(-2), torch.eye(2))


def test_a_jump_leaves_the_posterior_as_it_is():
    check_jump_leaves_moments(posterior.jump)
    rejects(check_jump_leaves_moments, *map(jump_with, WRONG_JUMPS.values()))


def check_exchangeable(before, after, x, log_joint):
    """Functions of (z, x) have the same mean for both, compared pair by pair; positions (1, 1, B, N_z)."""

    def features(z):
        flat = z[0, 0]
        cross = (flat.unsqueeze(-1) * x.unsqueeze(-2)).flatten(1)
        products = torch.stack([flat[:, 0] ** 2, flat[:, 1] ** 2, flat[:, 0] * flat[:, 1]], -1)
        return torch.cat([flat, products, cross, log_joint(z)[0, 0].unsqueeze(-1)], -1)

    assert_mean(features(after) - features(before), 0.0)


@pytest.fixture
def decoder(monkeypatch):
    """z* ~ p(z), x ~ p(x | z*) of a decoder with large weights, its posteriors far from Gaussian, and for each x
    the mixture that `prepare` would have jumps propose from. There are 2^8 different x."""
    monkeypatch.setattr(posterior, "CANDIDATES", 2**12)
    model = BernoulliModel(n_features=8, n_hidden=6, n_latent=2)
    params = scramble(trees.stack([model.init(generator(0))]), scale=1.5, seed=1)
    source = generator(11)
    z = torch.randn(1, 1, 5000, 2, generator=source)
    x = model.decode(params.theta, z).sample(torch.rand(1, 1, 5000, 8, generator=source))[0, 0]
    _, proposals = posterior.prepare(model, params, torch.cartesian_prod(*[torch.arange(2.0)] * 8), [source])
    pattern = (x @ 2 ** torch.arange(7.0, -1, -1)).long()
    return model, params, z, x, Mixture(*(field[:, pattern] for field in proposals))


@pytest.mark.parametrize("transition", [False, True], ids=["jumps alone", "jumps and HMC"])
def test_on_a_decoder_draws_are_exchangeable_with_exact_posterior_draws(decoder, transition):
    model, params, z, x, proposal = decoder

    def log_joint(z):
        return model.log_joint(params.theta, x[None], z)

    def check(jump):
        point, source = hmc.at(log_joint, z), generator(12)
        for _ in range(6):
            noise = trees.stack([posterior.draw_noise(source, tuple(z.shape[1:]))])
            point, _ = jump(log_joint, point, proposal, noise)
            if transition:
                point, _ = hmc.transition(log_joint, point, noise.hmc, 0.5 * noise.jitter, 4)
        assert (point.z != z).any(-1).double().mean() > 0.9
        check_exchangeable(z, point.z, x, log_joint)

    check(posterior.jump)
    rejects(check, *map(jump_with, WRONG_JUMPS.values()))


def test_a_place_whose_density_is_no_number_is_never_jumped_to():
    start, proposal = torch.zeros(1, 4, 3, 2), mixture.fit(randn(50, 1, 3, 2).double(), 1, [generator(0)])

    def log_prob(z):
        bad = torch.tensor([0.0, math.nan, -math.inf])
        return standard_normal_log_prob(z) + torch.where((z.detach() != 0).any(-1), bad, 0.0)

    noise = trees.stack([posterior.draw_noise(generator(1), (4, 3, 2))])._replace(
        u=torch.full((1, 4, 3), 1e-9)
    )
    moved, jumped = posterior.jump(log_prob, hmc.at(log_prob, start), proposal, noise)
    assert jumped.all(1).tolist() == [[True, False, False]]
    assert torch.equal(moved.z[:, :, 1:], start[:, :, 1:])
    assert torch.isfinite(moved.log_prob).all()


def test_noise_is_normal_and_uniform():
    noise = posterior.draw_noise(generator(3), (50, 400, 2))
    assert_mean(noise.eps.flatten(0, 1), 0.0)
    assert_mean(noise.eps.flatten(0, 1).square(), 1.0)
    for u in (noise.component, noise.u, noise.hmc.u, (noise.jitter - 0.8) / 0.4):
        assert u.shape == (50, 400)
        assert_mean(u.flatten(), 0.5)
        assert_mean(u.flatten().square(), 1 / 3)
        assert u.min() >= 0
        assert u.max() < 1


# ------------------------------------------------------------------------------------------------- resampling


def counts(z, resample, log_odds):
    """How often each of the draws z = 0, 1, 2, ... was taken, (M, B, G)."""
    taken = resample(z, log_odds, [generator(m) for m in range(len(log_odds))])
    assert taken.shape == (RESAMPLED, len(log_odds), log_odds.shape[-1], 1)
    return (taken == torch.arange(len(z))).double().sum(0)


def check_counts(resample):
    """Two models, 500 points with the same odds: p x 256 draws, up or down to a whole number, right on average."""
    z, log_odds = torch.arange(40.0).unsqueeze(1), 2 * randn(2, 40, 1, seed=7).double()
    expected = RESAMPLED * torch.softmax(log_odds, 1).squeeze(-1)
    number = counts(z, resample, log_odds.expand(-1, -1, 500))
    assert ((number - expected.unsqueeze(1)).abs() < 1 + 1e-9).all()
    assert (number.sum(-1) == RESAMPLED).all()
    varies = number.std(1) > 0
    assert varies.double().mean() > 0.8
    error = number.std(1) / math.sqrt(500)
    assert ((number.mean(1) - expected).abs() < SDS * error + 1e-9)[varies].all()


def test_draws_are_resampled_with_their_odds():
    def multinomial(z, log_odds, generators):
        p = torch.softmax(log_odds, 1).transpose(1, 2)
        chosen = [
            torch.multinomial(q, RESAMPLED, True, generator=g) for q, g in zip(p, generators, strict=True)
        ]
        return z[torch.stack(chosen)].permute(2, 0, 1, 3)

    check_counts(posterior.resample)
    rejects(
        check_counts,
        multinomial,
        lambda z, log_odds, g: posterior.resample(z, 0 * log_odds, g),
        lambda z, log_odds, g: posterior.resample(z, 0.9 * log_odds, g),
        lambda z, log_odds, g: posterior.resample(z, log_odds.flip(0), g),
        lambda z, log_odds, g: posterior.resample(z.flip(0), log_odds, g),
        lambda z, log_odds, g: posterior.resample(z, log_odds, g)[:, :, :1].expand(-1, -1, 500, -1),
    )


def test_odds_that_are_no_numbers_stop_nobody():
    """A model that diverged, in a stack with one that did not."""
    z, log_odds = torch.arange(40.0).unsqueeze(1), randn(2, 40, 3, seed=8).double()
    well = counts(z, posterior.resample, log_odds)
    log_odds[0] = math.nan
    assert torch.equal(counts(z, posterior.resample, log_odds)[1], well[1])


def check_proposal(prepare):
    """At 2^16 candidates the mixtures describe the posteriors of PPCA: on average over 40 points

        KL(p || q) = 23 / (2 x 256) + N_z / 2 (1 / 1.3 - 1 + log 1.3)        (23 parameters at N_z = 2, the scale)

    which is 0.08 nats; 0.2 is far from what another point's posterior or a piece of its own would give.
    """
    for n_latent in (1, 2):
        model, params, x = problem(n_latent, 40)
        exact = model.posterior(params.theta, x[None])
        start, q = prepare(model, params, x, [generator(9)])
        assert start.shape == (1, CHAINS, 40, n_latent)
        z = unwhiten(exact, randn(200, 1, 40, n_latent, seed=10).double())
        divergence = (exact.log_prob(z) - q.log_prob(z)).mean((0, 1))
        assert divergence.mean() < 0.2
        assert (whiten(exact, start).abs() < 7).all()


def test_proposals_describe_the_posterior(monkeypatch):
    check_proposal(posterior.prepare)

    def patched(name, value):
        def prepare(*arguments):
            with monkeypatch.context() as patch:
                patch.setattr(posterior, name, value)
                return right(*arguments)

        return prepare

    right, resample = posterior.prepare, posterior.resample
    rejects(
        check_proposal,
        patched("resample", lambda z, log_odds, g: resample(z, 0 * log_odds, g)),  # the prior
        patched("resample", lambda z, log_odds, g: resample(z, log_odds.flip(2), g)),
        patched("JUMP_SCALE", 0.2),
        patched("JUMP_SCALE", 5.0),
        patched("CANDIDATES", 2**6),
    )


# --------------------------------------------------------------------------------------------- whole draws


def draw(model, params, x, n=100, seed=13, **settings):
    return posterior.draw(model, params, x, [generator(seed)], n, **settings)


def check_moments(draw):
    """100 points of PPCA. Points are independent, so the average over a point's draws counts as one; each error in
    units of its own standard error, autocorrelation included, has an sd of one, within a fifth for short chains."""
    model, params, x = problem(2, 100)
    exact = model.posterior(params.theta, x[None])
    kept = draw(model, params, x)
    z = whiten(exact, kept.z)
    features = torch.cat([z, z.square() - 1, (z[..., :1] * z[..., 1:])], -1)[:, :, 0]
    assert_mean(features.mean((0, 1)), 0.0)
    error = features.std((0, 1)) / diagnostics.autocorrelated_ess(features).sqrt()
    scores = (features.mean((0, 1)) / error).flatten()
    assert abs(scores.square().mean().sqrt() - 1) < 0.2 + SDS / math.sqrt(2 * len(scores))


class Hotter(PPCA):
    def log_joint(self, theta, x, z):
        return 0.8 * super().log_joint(theta, x, z)


class NoPrior(PPCA):
    def log_joint(self, theta, x, z):
        return self.log_likelihood(theta, x, z)


def as_model(other):
    def wrong(model, params, x):
        return draw(other(model.n_features, 1, model.n_latent), params, x)

    return wrong


@pytest.mark.usefixtures("few_candidates")
def test_draws_have_the_exact_posteriors_mean_and_covariance(monkeypatch):
    check_moments(draw)
    rejects(
        check_moments,
        as_model(Hotter),
        as_model(NoPrior),
        lambda model, params, x: draw(model, params, x.flip(0)),
        # the resampled candidates themselves, before any chain has moved
        lambda model, params, x: (k := draw(model, params, x))._replace(z=k.z[:1].expand_as(k.z)),
    )
    for wrong in ("no q", "q upside down"):
        monkeypatch.setattr(posterior, "jump", jump_with(WRONG_JUMPS[wrong]))
        rejects(check_moments, draw)


@pytest.mark.usefixtures("few_candidates")
def test_draws_have_their_own_log_joint_and_shapes():
    model, params, x = problem(2, 7)
    kept = draw(model, params, x, n=11, warm_up=40)
    assert kept.z.shape == (11, CHAINS, 1, 7, 2)
    assert kept.log_joint.shape == (11, CHAINS, 1, 7)
    assert kept.acceptance.shape == (1, 7)
    expected = model.log_joint(params.theta, x[None], kept.z.flatten(0, 1).transpose(0, 1))
    expected = expected.squeeze(0).unflatten(0, (11, CHAINS))
    torch.testing.assert_close(kept.log_joint[:, :, 0], expected, rtol=1e-10, atol=1e-10)
    assert ((kept.acceptance > 0) & (kept.acceptance <= 1)).all()
    moved = (kept.z[1:] != kept.z[:-1]).any(-1).double().mean()
    assert moved > 0.9


# ------------------------------------------------------------------------------------------------- step sizes


class Widths(PPCA):
    """A decoder that is exp(2 z) before it is linear: posteriors are some hundred times as wide for one point as for
    another."""

    def decode(self, theta, z):
        return super().decode(theta, torch.exp(2 * z))


def check_near_target(acceptance):
    """HMC accepts 90 per cent: on average over points within 3, and near it at each."""
    standard_error = acceptance.std().item() / math.sqrt(acceptance.numel())
    assert abs(acceptance.mean().item() - 0.9) < 0.03 + SDS * standard_error
    assert ((acceptance > 0.75) & (acceptance < 0.99)).double().mean() > 0.9


def check_acceptance(draw):
    """The four chains of a point have 75 transitions to adapt their step size in, together."""
    for model in (PPCA, Widths):
        check_near_target(draw(*problem(2, 60, model), n=60).acceptance)


@pytest.mark.usefixtures("few_candidates")
def test_dual_averaging_reaches_90_per_cent_acceptance_whatever_the_width(monkeypatch):
    check_acceptance(draw)
    rejects(
        check_acceptance,
        lambda *args, **n: draw(*args, **n, acceptance=0.6),
        lambda *args, **n: draw(*args, **n, acceptance=0.99),
        lambda *args, **n: draw(*args, **n, warm_up=8),
    )
    right = hmc.adapt
    for wrong in (
        lambda state, acceptance, target: right(state, 2 * target - acceptance, target),  # the wrong way
        lambda state, acceptance, target: state,  # not at all
        lambda state, acceptance, target: right(
            state, acceptance.mean().expand_as(acceptance), target
        ),  # one for all points
    ):
        monkeypatch.setattr(hmc, "adapt", wrong)
        rejects(check_acceptance, draw)


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("n_latent", [2, 3])
def test_a_decoder_is_sampled_at_90_per_cent_acceptance_too(n_latent):
    model = BernoulliModel(30, 20, n_latent)
    params = scramble(trees.stack([model.init(generator(0))]), seed=1)
    x = torch.rand(60, 30, generator=generator(2))
    check_near_target(draw(model, params, x).acceptance)


# ------------------------------------------------------------------------------------------------ several modes


class Folded(PPCA):
    """Linear in |z - 0.2|: a posterior with a mode on either side, the more probable one nearer to zero."""

    def decode(self, theta, z):
        return super().decode(theta, (z - 0.2).abs())


def right_share(model, params, x):
    """P(z > 0.2 | x) by summing over 7000 nodes, (B,)."""
    grid = torch.linspace(-7, 7, 7000).unsqueeze(1)
    log_joint = (
        nodes.log_likelihood(model, params.theta, x, grid)[0] + standard_normal_log_prob(grid)[:, None]
    )
    return torch.softmax(log_joint, 0)[grid[:, 0] > 0.2].sum(0)


def check_shares(jump):
    """40 points. Draws on the right are independent to the degree that chains change sides; the error of their share
    is in units of the standard error that follows. No point may be worth fewer than 50 draws of the 800."""
    model, params, x = problem(1, 40, Folded)
    share = right_share(model, params, x)
    assert ((share > 0.02) & (share < 0.5)).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posterior, "jump", jump)
        kept = draw(model, params, x, n=200)
    right = (kept.z[..., 0] > 0.2).double()
    ess = diagnostics.autocorrelated_ess(right)[0]
    assert ess.min() > 50
    error, off = (share * (1 - share) / ess).sqrt(), right.mean((0, 1))[0] - share
    assert (off.abs() < SDS * error).all()
    assert (
        abs(off.sum()) < SDS * error.square().sum().sqrt()
    )  # a small fault of all points shows in their sum


def test_modes_are_visited_in_their_right_shares():
    def stay(log_prob, start, proposal, noise):
        return start, torch.zeros_like(start.log_prob, dtype=torch.bool)

    check_shares(posterior.jump)
    rejects(check_shares, stay, jump_with(WRONG_JUMPS["no q"]), jump_with(WRONG_JUMPS["q upside down"]))


# ------------------------------------------------------------------------------------------- stacks and refusals


def test_more_than_four_latent_dimensions_are_refused():
    model = BernoulliModel(6, 3, 5)
    params = trees.stack([model.init(generator(0))])
    with pytest.raises(UserError, match="N_z = 5"):
        draw(model, params, torch.zeros(2, 6))


@pytest.mark.usefixtures("few_candidates")
def test_draws_depend_on_the_generators_alone_and_not_on_the_position_in_the_stack():
    model, params, x = problem(2, 5)
    params = trees.concatenate([params, scramble(params, seed=3)])
    swapped = trees.rebuild(params, {name: w.flip(0) for name, w in trees.leaves(params).items()})
    before = torch.random.get_rng_state()
    one = posterior.draw(model, params, x, [generator(1), generator(2)], 5, warm_up=50)
    other = posterior.draw(model, swapped, x, [generator(2), generator(1)], 5, warm_up=50)
    torch.testing.assert_close(one.z.flip(2), other.z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.acceptance.flip(0), other.acceptance, rtol=1e-9, atol=1e-9)
    assert (one.z[:, :, 0] - one.z[:, :, 1]).abs().min() > 0
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.usefixtures("few_candidates")
def test_a_model_that_diverged_stands_still_and_leaves_the_others_alone():
    model, params, x = problem(2, 5)
    params = trees.concatenate([params, params])

    def draws(params):
        return posterior.draw(model, params, x, [generator(1), generator(2)], 20, warm_up=50)

    well = draws(params)
    named = trees.leaves(params)
    named["theta.w_h"] = named["theta.w_h"].clone()
    named["theta.w_h"][1] = math.nan
    kept = draws(trees.rebuild(params, named))
    assert equal(kept.z[:, :, 0], well.z[:, :, 0])
    assert (kept.z[1:, :, 1] == kept.z[:-1, :, 1]).all()
    assert kept.acceptance[1].tolist() == [0.0] * 5
