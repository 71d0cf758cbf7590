"""Wake-sleep (Hinton, Dayan, Frey & Neal 1995), the paper's on-line baseline (section 5).

    wake:   z ~ q(z | x) for data x;              theta ascends log p(x, z)
    sleep:  z ~ p(z), x ~ p(x | z), both dreamt;  phi   ascends log q(z | x)

Same encoder, optimiser and prior as AEVB. The two phases do not ascend one common objective; the bound that is
reported is the ELBO of the wake phase's minibatch, which no step ascends.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from aevb.distributions import Gaussian
from aevb.estimators import Estimator, Info, State, gradient, propose
from aevb.models import Model, Params
from aevb.optimisers import Optimiser


class Noise(NamedTuple):
    eps: Tensor  # (1, B, N_z), wake: z ~ q(z | x)
    z: Tensor  # (1, B, N_z), sleep: z ~ p(z)
    x: Tensor  # (1, B, D), sleep: what turns p(x | z) into a dreamt x


def dream(model: Model, theta: dict[str, Tensor], noise: Noise) -> Tensor:
    """x ~ p(x | z) for the prior draws noise.z: (M, B, D); binary for a Bernoulli decoder."""
    with torch.no_grad():
        return model.generate(theta, noise.z, noise.x).squeeze(1)


def build(model: Model, optimiser: Optimiser, n_train: int) -> Estimator:
    """Both phases of one minibatch in one step: theta follows the wake phase, phi the sleep phase."""

    def init(params: Params) -> State:
        return State(params, optimiser.init(params))

    def draw(generator: torch.Generator, batch_size: int) -> Noise:
        latent, visible = (1, batch_size, model.n_latent), (1, batch_size, model.n_features)
        return Noise(
            eps=Gaussian.draw_noise(generator, latent),
            z=Gaussian.draw_noise(generator, latent),
            x=model.likelihood.draw_noise(generator, visible),
        )

    def step(state: State, x: Tensor, noise: Noise) -> tuple[State, Info]:
        batch_size = x.shape[1]
        theta, phi = state.params
        with torch.no_grad():
            q, z = propose(model, phi, x, noise.eps)
        dreamt = dream(model, theta, noise)

        def wake(params: Params) -> Tensor:
            # log p(z) of log p(x, z) does not depend on theta
            return model.log_likelihood(params.theta, x, z).sum((1, 2))

        def sleep(params: Params) -> Tensor:
            return model.encode(params.phi, dreamt).log_prob(noise.z.squeeze(1)).sum(-1)

        reconstruction, wake_grads = gradient(wake, Params(theta, {}))
        dream_log_q, sleep_grads = gradient(sleep, Params({}, phi))
        grads = Params(wake_grads.theta, sleep_grads.phi)
        params, optimiser_state = optimiser.ascend(state.optimiser, state.params, grads, batch_size / n_train)
        bound = (reconstruction - q.kl().sum((1, 2))) / batch_size
        return State(params, optimiser_state), Info(bound, (reconstruction + dream_log_q) / batch_size)

    return Estimator(init, draw, step)
