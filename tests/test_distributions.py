"""Row 1 of VERIFICATION.md: densities and divergence against torch.distributions, 1e-12 in double precision."""

import math

import pytest
import torch
from torch import distributions as reference
from torch.testing import assert_close

from aevb.distributions import Bernoulli, Gaussian, standard_normal_log_prob
from helpers import assert_mean, generator, randn, rejects

pytestmark = pytest.mark.usefixtures("double")
EXACT = {"rtol": 1e-12, "atol": 0.0}

MU, LOG_VAR, X = randn(5, 7, seed=1), 1.5 * randn(5, 7, seed=2), 2 * randn(5, 7, seed=3)
LOGITS = 5 * randn(5, 7, seed=4)


@pytest.fixture
def gaussian():
    return Gaussian(MU.double(), LOG_VAR.double())


def check_gaussian_log_prob(log_prob):
    mu, log_var, x = MU.double(), LOG_VAR.double(), X.double()
    expected = reference.Normal(mu, torch.exp(log_var / 2)).log_prob(x).sum(-1)
    assert_close(log_prob(mu, log_var, x), expected, **EXACT)


def test_gaussian_log_prob_is_that_of_torch_distributions():
    check_gaussian_log_prob(lambda mu, log_var, x: Gaussian(mu, log_var).log_prob(x))
    rejects(
        check_gaussian_log_prob,
        lambda mu, log_var, x: Gaussian(mu, log_var).log_prob(x) + 3.5 * math.log(2 * math.pi),  # no 2 pi
        lambda mu, log_var, x: Gaussian(mu, log_var).log_prob(x) / 7,  # mean for sum
        lambda mu, log_var, x: Gaussian(mu, log_var / 2).log_prob(x),  # sigma for sigma^2
        lambda mu, log_var, x: Gaussian(mu, 2 * log_var).log_prob(x),  # log sigma read as log sigma^2
    )


def check_standard_normal(log_prob):
    x = X.double()
    assert_close(log_prob(x), reference.Normal(0.0, 1.0).log_prob(x).sum(-1), **EXACT)


def test_standard_normal_log_prob_is_that_of_torch_distributions():
    check_standard_normal(standard_normal_log_prob)
    rejects(
        check_standard_normal,
        lambda z: -0.5 * z.square().sum(-1),
        lambda z: standard_normal_log_prob(z) / 7,
    )


def check_kl(kl):
    mu, log_var = MU.double(), LOG_VAR.double()
    q, p = reference.Normal(mu, torch.exp(log_var / 2)), reference.Normal(0.0, 1.0)
    assert_close(kl(mu, log_var), reference.kl_divergence(q, p).sum(-1), **EXACT)


def test_kl_is_that_of_torch_distributions():
    check_kl(lambda mu, log_var: Gaussian(mu, log_var).kl())
    rejects(
        check_kl,
        lambda mu, log_var: -Gaussian(mu, log_var).kl(),
        lambda mu, log_var: Gaussian(mu, log_var).kl() / 7,  # mean for sum
        lambda mu, log_var: Gaussian(mu, log_var / 2).kl(),  # sigma for sigma^2
    )


def test_kl_of_the_prior_from_itself_is_zero():
    assert Gaussian(torch.zeros(3), torch.zeros(3)).kl() == 0


def check_bernoulli_log_prob(log_prob):
    logits = LOGITS.double()
    y = torch.sigmoid(logits)
    binary = (X > 0).double()
    assert_close(
        log_prob(logits, binary), reference.Bernoulli(y).log_prob(binary).sum(-1), rtol=1e-12, atol=0
    )
    grey = torch.rand(5, 7, generator=generator(5))
    expected = (grey * y.log() + (1 - grey) * torch.log1p(-y)).sum(-1)  # eq. 11, as it is printed
    assert_close(log_prob(logits, grey), expected, **EXACT)


def test_bernoulli_log_prob_is_equation_11_for_binary_and_for_grey_pixels():
    check_bernoulli_log_prob(lambda logits, x: Bernoulli(logits).log_prob(x))
    rejects(
        check_bernoulli_log_prob,
        lambda logits, x: Bernoulli(logits).log_prob(x) / 7,  # mean for sum
        lambda logits, x: (x * torch.log(torch.sigmoid(logits))).sum(-1),  # forgets the pixels that are off
        lambda logits, x: Bernoulli(logits).log_prob((x > 0.5).double()),  # binarises
    )


@pytest.mark.parametrize("logit", [-800.0, -40.0, 40.0, 800.0])
def test_bernoulli_log_prob_of_a_saturated_pixel_is_finite_and_right(logit):
    """torch's softplus is the identity from 20 on: 2e-9 nats a pixel."""
    p = Bernoulli(torch.tensor([logit]))
    right, wrong = torch.tensor([float(logit > 0)]), torch.tensor([float(logit < 0)])
    assert_close(p.log_prob(right).item(), 0.0, rtol=0, atol=3e-9)
    assert_close(p.log_prob(wrong).item(), -abs(logit), rtol=0, atol=3e-9)


def test_bernoulli_probabilities_of_all_images_sum_to_one():
    logits = LOGITS.double()[0]
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 7)
    p = Bernoulli(logits.expand_as(images)).log_prob(images).exp()
    assert_close(p.sum().item(), 1.0, rtol=1e-12, atol=0)


def check_gaussian_sample(sample):
    mu, log_var = torch.tensor([1.0, -2.0]), torch.tensor([-1.0, 2.0])
    draws = sample(mu, log_var, Gaussian.draw_noise(generator(6), (20_000, 2)))
    assert_mean(draws, mu)
    assert_mean((draws - mu).square(), log_var.exp())


def test_gaussian_samples_have_its_moments():
    check_gaussian_sample(lambda mu, log_var, eps: Gaussian(mu, log_var).sample(eps))
    rejects(
        check_gaussian_sample,
        lambda mu, log_var, eps: mu + log_var.exp() * eps,  # sigma^2 for sigma
        lambda mu, log_var, eps: mu + 0 * eps,
        lambda mu, log_var, eps: mu + torch.exp(0.5 * log_var) * eps.abs(),
    )


def test_gaussian_sample_is_reparameterised(gaussian):
    eps = randn(5, 7, seed=8).double()
    parameters = [value.requires_grad_() for value in gaussian]
    d_mu, d_log_var = torch.autograd.grad(gaussian.sample(eps).sum(), parameters)
    assert_close(d_mu, torch.ones_like(d_mu), **EXACT)
    assert_close(d_log_var, 0.5 * torch.exp(0.5 * LOG_VAR.double()) * eps, **EXACT)


def check_bernoulli_sample(sample):
    logits = torch.tensor([-2.0, 0.0, 1.0])
    draws = sample(logits, Bernoulli.draw_noise(generator(7), (20_000, 3)))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert_mean(draws, torch.sigmoid(logits))


def test_bernoulli_samples_are_binary_with_its_mean():
    check_bernoulli_sample(lambda logits, u: Bernoulli(logits).sample(u))
    rejects(
        check_bernoulli_sample,
        lambda logits, u: torch.sigmoid(logits).expand_as(u),  # the mean instead of a draw
        lambda logits, u: (u > torch.sigmoid(logits)).double(),
    )


def test_noise_depends_on_its_generator_alone():
    for family in (Gaussian, Bernoulli):
        torch.manual_seed(0)
        one = family.draw_noise(generator(9), (4, 3))
        torch.manual_seed(1)
        assert torch.equal(one, family.draw_noise(generator(9), (4, 3)))
        assert not torch.equal(one, family.draw_noise(generator(10), (4, 3)))
