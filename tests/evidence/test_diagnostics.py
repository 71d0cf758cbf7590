"""evidence/diagnostics.py: an average of weights in ordinary numbers; tails and autocorrelations that are known."""

import math

import numpy as np
import pytest
import torch

from aevb.evidence import Evidence, Refusal, diagnostics
from aevb.evidence.diagnostics import autocorrelated_ess, of_mean, pareto_k_hat, split_r_hat
from helpers import SDS, equal, generator, randn, rejects

pytestmark = pytest.mark.usefixtures("double")


def autoregressive(rho, n, rows, seed, chains=4):
    """z_t = rho z_(t-1) + sqrt(1 - rho^2) e_t, stationary, N(0, 1) each: (n, C, 1, rows).

    The mean of n draws has the variance of n (1 - rho) / (1 + rho) independent ones.
    """
    noise = randn(n, chains, 1, rows, seed=seed).double()
    draws = [noise[0]]
    for e in noise[1:]:
        draws.append(rho * draws[-1] + math.sqrt(1 - rho**2) * e)
    return torch.stack(draws)


# --------------------------------------------------------------------------------------- the mean of weights


def check_in_ordinary_numbers(average):
    """Weights near one, of 20 independent draws: every formula written out without logarithms."""
    log_w = randn(1, 20, 2, 3, seed=3).double()
    for sign in (1, -1):
        result = average(log_w, sign)
        w = log_w[0].exp()
        expected = result._replace(
            estimate=sign * w.mean(0).log(),
            std_error=w.std(0) / w.mean(0) / math.sqrt(20),  # the delta method
            ess=w.sum(0).square() / w.square().sum(0),
            largest_share=w.amax(0) / w.sum(0),
            log_range=(w.amax(0) / w.amin(0)).log(),
        )
        torch.testing.assert_close(tuple(result), tuple(expected), rtol=1e-10, atol=1e-12, equal_nan=True)
        assert result.estimate.shape == (2, 3)


def test_the_estimate_is_the_log_of_the_mean_weight_and_its_error_that_of_the_delta_method():
    check_in_ordinary_numbers(of_mean)

    def changed(**changes):
        def average(log_w, sign):
            result = of_mean(log_w, sign)
            new = {name: change(getattr(result, name), log_w[0], sign) for name, change in changes.items()}
            return result._replace(**new)

        return average

    rejects(
        check_in_ordinary_numbers,
        lambda log_w, sign: of_mean(log_w, 1),  # a reciprocal taken for the thing itself
        lambda log_w, sign: of_mean(sign * log_w, sign),  # the mean of the reciprocals
        changed(estimate=lambda value, log_w, sign: sign * log_w.mean(0)),  # a mean of logs
        changed(estimate=lambda value, log_w, sign: sign * torch.logsumexp(log_w, 0)),  # no log L
        changed(std_error=lambda value, log_w, sign: log_w.exp().std(0) / 20**0.5),  # of the mean itself
        changed(std_error=lambda value, log_w, sign: value * (19 / 20) ** 0.5),
        changed(ess=lambda value, log_w, sign: torch.full_like(value, 20)),
    )


@pytest.mark.parametrize("shift", [-1e4, 5000.0, 1e6])
def test_weights_of_any_size_do_not_overflow(shift):
    log_w = randn(10, 4, 2, 3, seed=4).double()
    for sign in (1, -1):
        plain, shifted = of_mean(log_w, sign), of_mean(log_w + shift, sign)
        expected = plain._replace(estimate=plain.estimate + sign * shift)
        torch.testing.assert_close(tuple(shifted), tuple(expected), rtol=1e-6, atol=1e-6, equal_nan=True)


def test_single_precision_is_averaged_in_double():
    log_w = randn(10, 4, 2, 3, seed=4).float()
    assert equal(of_mean(log_w, 1), of_mean(log_w.double(), 1))


def test_equal_weights_have_no_error():
    result = of_mean(torch.full((5, 8, 1, 1), -3.0), -1)
    assert result.estimate.item() == 3
    assert result.std_error.item() == pytest.approx(0, abs=1e-12)
    assert result.ess.item() == pytest.approx(40)
    assert result.largest_share.item() == pytest.approx(1 / 40)
    assert result.log_range.item() == 0
    assert result.refusal.item() == Refusal.NONE


def check_calibrated(average):
    """Chains of known autocorrelation: errors in units of their reported standard deviation have an sd of one.

    log w is N(0, 1/4), so E w = e^(1/8). The chains show their own correlations to some per cent, hence 0.06.
    """
    for rho in (-0.3, 0.6):
        result = average(0.5 * autoregressive(rho, 250, 500, seed=1), 1)
        z = ((result.estimate - 1 / 8) / result.std_error).flatten()
        assert abs(z.std().item() - 1) < 0.06 + SDS / math.sqrt(2 * 500)


def test_the_standard_error_counts_autocorrelation():
    check_calibrated(of_mean)
    rejects(
        check_calibrated,
        lambda log_w, sign: of_mean(log_w.reshape(1, -1, *log_w.shape[2:]), sign),  # as if independent
        lambda log_w, sign: of_mean(log_w[:1], sign),  # of one draw of each chain
    )


def test_the_mean_is_over_chains_and_draws_alike():
    log_w = randn(10, 4, 1, 2, seed=5).double()
    swapped = of_mean(log_w.transpose(0, 1), 1)
    torch.testing.assert_close(of_mean(log_w, 1).estimate, swapped.estimate)


@pytest.mark.parametrize(
    ("weight", "refusal"),
    [(math.nan, Refusal.NOT_FINITE), (math.inf, Refusal.NOT_FINITE), (-math.inf, Refusal.NONE)],
)
def test_one_weight_that_is_not_finite_is_refused_and_one_of_zero_is_not(weight, refusal):
    log_w = torch.zeros(10, 4, 2, 2)
    log_w[3, 1, 1, 0] = weight
    result = of_mean(log_w, -1)
    assert result.refusal.tolist() == [[0, 0], [refusal, 0]]
    if refusal == Refusal.NONE:
        assert result.estimate[1, 0].item() == pytest.approx(math.log(40 / 39))
    assert result.estimate[0].tolist() == [0, 0]


def test_weights_that_are_all_zero_are_refused():
    assert of_mean(torch.full((1, 40, 1, 1), -math.inf), 1).refusal.item() == Refusal.NOT_FINITE


def test_a_heavy_tail_is_refused_and_its_estimate_kept():
    log_w = torch.stack([pareto(0.1, 2000, 1, seed=6), pareto(3.0, 2000, 1, seed=6)], -1).unsqueeze(0)
    result = of_mean(log_w, 1)
    assert result.refusal.tolist() == [[Refusal.NONE, Refusal.HEAVY_TAIL]]
    assert torch.isfinite(result.estimate).all()
    assert torch.isnan(result.log_prob).tolist() == [[False, True]]


def test_what_an_average_knows_nothing_of_is_not_a_number():
    result = of_mean(torch.zeros(10, 4, 1, 2), 1)
    assert isinstance(result, Evidence)
    assert torch.isnan(result.acceptance).all()
    assert torch.isnan(result.r_hat).all()


# ------------------------------------------------------------------------------------------------- the tail


def pareto(k, n, rows, seed):
    """Logs of n weights for each row, of the generalized Pareto distribution of shape k."""
    u = torch.rand(n, rows, generator=generator(seed))
    return (torch.expm1(-k * torch.log1p(-u)) / k).log()


def check_recovers_shapes(shape):
    """300 rows of 5000 weights. ArviZ fits the tail of S = 3 sqrt(5000) and draws k towards 1/2 as if by ten more.

    What its fit is off by itself, in the mean, falls as 1/S: 0.02 is several times that.
    """
    tail = math.floor(3 * math.sqrt(5000))
    for k in (0.2, 0.5, 0.9):
        k_hat = shape(pareto(k, 5000, 300, seed=7))
        expected = (tail * k + 5) / (tail + 10)
        standard_error = k_hat.std().item() / math.sqrt(300)
        assert abs(k_hat.mean().item() - expected) < 0.02 + SDS * standard_error
        assert standard_error < 0.01


def test_the_shape_of_a_pareto_tail_is_recovered():
    check_recovers_shapes(pareto_k_hat)
    rejects(
        check_recovers_shapes,
        lambda log_w: pareto_k_hat(-log_w),  # the left tail
        lambda log_w: pareto_k_hat(2 * log_w),  # of the squares
        lambda log_w: pareto_k_hat(log_w.exp()),  # weights taken for their logs
    )


def test_the_shape_knows_no_unit():
    log_w = pareto(0.5, 500, 3, seed=8)
    torch.testing.assert_close(pareto_k_hat(log_w), pareto_k_hat(log_w + 1000), rtol=1e-6, atol=1e-6)


def test_each_model_and_point_has_its_own_tail():
    log_w = torch.stack([pareto(k, 500, 3, seed=9) for k in (0.2, 0.9)], 1)
    together = pareto_k_hat(log_w)
    assert together.shape == (2, 3)
    alone = torch.cat([pareto_k_hat(log_w[:, m, b, None]) for m in range(2) for b in range(3)])
    torch.testing.assert_close(together.flatten(), alone)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_is_not_a_number_or_infinite_has_an_infinitely_heavy_tail(weight):
    log_w = randn(50, 3, seed=10).double()
    log_w[7, 1] = weight
    k_hat = pareto_k_hat(log_w)
    assert torch.isinf(k_hat).tolist() == [False, True, False]
    assert torch.equal(k_hat[[0, 2]], pareto_k_hat(log_w[:, [0, 2]]))


def test_no_tail_is_fitted_to_fewer_than_25_weights():
    assert torch.isnan(pareto_k_hat(randn(24, 3).double())).all()
    assert torch.isfinite(pareto_k_hat(randn(25, 3).double())).all()


@pytest.mark.parametrize("size", [0.0, -1e4, 1e9, -1e30])
def test_equal_weights_of_any_size_have_a_light_tail(size):
    """Chains that stood still where the model diverged: nothing may raise."""
    assert (pareto_k_hat(torch.full((100, 2), size)) < 0.5).all()


def test_weights_of_zero_do_not_touch_the_tail():
    """They count as small weights do: a fifth of the largest is the tail whatever the others are."""
    log_w = randn(200, 3, seed=11).double()
    lowest = log_w.argsort(0)[:60]
    zero = log_w.scatter(0, lowest, -math.inf)
    torch.testing.assert_close(pareto_k_hat(zero), pareto_k_hat(log_w))


@pytest.mark.parametrize("rest", [-30.0, -700.0, -1e6, -math.inf])
def test_one_weight_beside_which_all_others_vanish_is_a_heavy_tail(rest):
    """An average of one weight, however far below it the others are."""
    log_w = torch.full((200, 1), rest)
    log_w[5] = 0
    result = of_mean(log_w.reshape(1, 200, 1, 1), 1)
    assert result.ess.item() == pytest.approx(1)
    assert result.refusal.item() == Refusal.HEAVY_TAIL


def test_weights_that_fall_by_e_thousands_of_times_are_a_heavy_tail():
    assert pareto_k_hat(torch.linspace(-1e6, 0, 200).unsqueeze(1)).item() > 0.7


# ---------------------------------------------------------------------------------- autocorrelation of chains


def check_known_time(ess):
    """Draws per independent draw are (1 + rho) / (1 - rho), on average over 300 rows within 3 per cent."""
    for rho in (-0.3, 0.0, 0.5, 0.9):
        draws = autoregressive(rho, 1000, 300, seed=12)
        ratio = 4000 / ess(draws) / ((1 + rho) / (1 - rho))
        assert abs(ratio.mean().item() - 1) < 0.03 + SDS * ratio.std().item() / math.sqrt(300)


def test_the_effective_number_of_an_autoregressive_chain_is_known():
    check_known_time(autocorrelated_ess)
    rejects(
        check_known_time,
        lambda draws: torch.full(draws.shape[2:], 4000.0),  # as if independent
        lambda draws: autocorrelated_ess(draws.transpose(0, 1)),  # chains for draws
        lambda draws: autocorrelated_ess(draws[:, :1]),  # of one chain
    )


def test_chains_apart_from_each_other_are_worth_few_draws():
    apart = autoregressive(0.0, 100, 1, seed=13) + 100 * torch.arange(4.0).reshape(4, 1, 1)
    assert autocorrelated_ess(apart).item() < 10


def test_draws_that_are_not_finite_equal_or_fewer_than_four_are_counted_as_they_are():
    draws = randn(20, 4, 1, 4, seed=14).double()
    draws[3, 1, 0, 0], draws[3, 1, 0, 1], draws[..., 2] = math.nan, math.inf, 7.0
    ess = autocorrelated_ess(draws)
    assert ess[0, :3].tolist() == [80, 80, 80]
    assert torch.equal(ess[:, 3:], autocorrelated_ess(draws[..., 3:]))
    assert autocorrelated_ess(draws[:3])[0, 3].item() == 12
    assert autocorrelated_ess(draws[:1])[0, 3].item() == 4


# ---------------------------------------------------------------------------------------- agreement of chains


def check_tells_disagreement(r_hat):
    """4 chains of 500 draws, 6 points. Point 1: one chain elsewhere; 2: all drift alike; 3: one coordinate of two;
    4: two chains elsewhere; 5: as 4, in the other model."""
    z = randn(500, 4, 2, 6, 2, seed=15).double()
    z[:, 0, 0, 1] += 3
    z[:, :, 0, 2] += torch.linspace(0, 3, 500).reshape(500, 1, 1)
    z[:, 0, 0, 3, 1] += 3
    z[:, :2, 0, 4] += 3
    z[:, :2, 1, 5] += 3
    expected = torch.zeros(2, 6, dtype=torch.bool)
    expected[0, 1:5] = expected[1, 5] = True
    result = r_hat(z)
    assert result.shape == (2, 6)
    assert torch.equal(result > diagnostics.MAX_R_HAT, expected)
    # it exceeds one by (F - 1) / 500, where F of 7 degrees of freedom stays below 10 but once in 1e11
    assert (result[~expected] - 1).abs().max() < 0.02


def test_split_r_hat_is_one_for_chains_that_agree_and_large_for_those_that_do_not():
    check_tells_disagreement(split_r_hat)

    def unsplit(z):
        """Gelman and Rubin's: chains that drift alike agree."""
        n, within, means = len(z), z.var(0).mean(0), z.mean(0)
        return (((n - 1) / n * within + means.var(0)) / within).sqrt().amax(-1)

    rejects(
        check_tells_disagreement,
        unsplit,
        lambda z: split_r_hat(z[..., :1]),  # of the first coordinate
        lambda z: split_r_hat(z.flatten(0, 1).unsqueeze(1)),  # of one long chain
        lambda z: split_r_hat(z.flip(2)),  # of another model
    )


def test_split_r_hat_is_the_published_formula():
    """Gelman et al. 2013, eq. 11.4, with each chain cut in two."""
    z = randn(60, 3, 1, 2, 1, seed=16).double() + randn(1, 3, 1, 2, 1, seed=17)
    halves = torch.cat([z[:30], z[30:]], 1)
    within, between = halves.var(0).mean(0), 30 * halves.mean(0).var(0)
    expected = ((29 / 30 * within + between / 30) / within).sqrt()[..., 0]
    torch.testing.assert_close(split_r_hat(z), expected)


def test_chains_that_stood_still_have_no_r_hat_and_raise_nothing():
    z = randn(20, 4, 1, 3, 2, seed=18).double()
    z[..., 1, :] = 3.0
    z[:, :, :, 2] = torch.arange(4.0).reshape(4, 1, 1)
    with np.errstate(all="raise"):
        r_hat = split_r_hat(z)
    assert torch.isfinite(r_hat[0, 0])
    assert torch.isnan(r_hat[0, 1])
    assert r_hat[0, 2] == math.inf
