"""Full variational Bayes (Appendix F): a Gaussian posterior over the decoder's weights too.

    L(phi; X) ~ sum_i [-KL(q(z | x_i) || p(z)) + log p_theta(x_i | z_i)] - KL(q(theta) || N(0, I))        (eq. 24)
    z_i = mu_i + sigma_i * eps_i,    theta = mu_theta + sigma_theta * zeta,    zeta ~ N(0, I)

One draw of theta serves a minibatch, which stands for all N_train points (Algorithm 2). What is learned is a
distribution: theta holds the means under the decoder's own names, so that every evaluator reads the model at the
posterior's mean, and the logarithms of the variances beside them as `log_var_*`. The prior N(0, I) covers all of
theta, biases too, and is part of the bound; there is no other one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from aevb.distributions import Gaussian
from aevb.estimators import Estimator, Info, State, gradient
from aevb.estimators.aevb import elbo
from aevb.models import Model, Params, Weights
from aevb.optimisers import Optimiser

# sigma_theta = 0.05: less would lose nothing but time, more drowns the small initial means
INITIAL_LOG_VAR = -6.0


class Noise(NamedTuple):
    eps: Tensor  # (1, B, N_z)
    zeta: Weights  # like the decoder's weights


def posterior(theta: Weights) -> dict[str, Gaussian]:
    """q(theta): for each of the decoder's tensors its means and log-variances, (M, in, out)."""
    return {
        name: Gaussian(mu, theta[f"log_var_{name}"])
        for name, mu in theta.items()
        if not name.startswith("log_var_")
    }


def kl(theta: Weights) -> Tensor:
    """KL(q(theta) || N(0, I)) in nats, (M,)."""
    return torch.stack([q.kl().sum(-1) for q in posterior(theta).values()]).sum(0)


def bound(model: Model, params: Params, x: Tensor, noise: Noise, n_train: int) -> Tensor:
    """Eq. 24 by a minibatch x (M, B, D), in nats per data point: (M,)."""
    theta = {name: q.sample(noise.zeta[name]) for name, q in posterior(params.theta).items()}
    return elbo(model, Params(theta, params.phi), x, noise.eps).mean(-1) - kl(params.theta) / n_train


def build(model: Model, optimiser: Optimiser, n_train: int) -> Estimator:
    """A step ascends the bound of eq. 24, of which a minibatch of M points bears M/N of KL(q(theta) || N(0, I))."""
    shapes = {name: w.shape for name, w in model.init(torch.Generator()).theta.items()}

    def init(params: Params) -> State:
        log_var = {f"log_var_{name}": torch.full_like(w, INITIAL_LOG_VAR) for name, w in params.theta.items()}
        params = Params(params.theta | log_var, params.phi)
        return State(params, optimiser.init(params))

    def draw(generator: torch.Generator, batch_size: int) -> Noise:
        eps = Gaussian.draw_noise(generator, (1, batch_size, model.n_latent))
        return Noise(eps, {name: Gaussian.draw_noise(generator, shape) for name, shape in shapes.items()})

    def step(state: State, x: Tensor, noise: Noise) -> tuple[State, Info]:
        batch_size = x.shape[1]
        # Adagrad's step does not depend on the scale of the objective, but its prior and its record do: nats per
        # minibatch, as for every other method
        value, grads = gradient(
            lambda params: batch_size * bound(model, params, x, noise, n_train), state.params
        )
        params, optimiser_state = optimiser.ascend(state.optimiser, state.params, grads, 0.0)
        return State(params, optimiser_state), Info(value / batch_size, value / batch_size)

    return Estimator(init, draw, step)
