"""Monte Carlo EM with a Hamiltonian Monte Carlo E-step (Appendix E). There is no encoder.

    E-step:  z_i ~ p(z | x_i) by one HMC transition of 10 leapfrog steps, chains kept between iterations
    M-step:  5 updates of theta that ascend sum_i log p(x_i, z_i) with that sample

One step is one EM iteration over all N_train points and counts (10 + 5) N_train samples evaluated. The step
size of each chain follows a stochastic approximation towards 90 % acceptance: theta moves in every iteration, so the
target does too and the adaptation can never be frozen; the E-step is therefore approximate.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import hmc
from aevb.estimators import Estimator, Info, gradient
from aevb.models import Model, Params, Weights
from aevb.optimisers import Optimiser

INITIAL_STEP = 0.1  # of the leapfrog integrator; adapted from the first iteration on
GAIN = 1.0  # of the step sizes' recursion; constant, since a vanishing gain would lose the moving target
CHUNK = 1000  # data points at a time: activations stay in cache, and memory does not grow with N_train


class State(NamedTuple):
    """The decoder, and for every data point an HMC chain over its z, kept from iteration to iteration."""

    params: Params
    optimiser: Any
    z: Tensor  # (M, N, N_z), one persistent chain per data point
    log_step: Tensor  # (M, N), leapfrog step size of each chain
    acceptance: Tensor  # (M,), mean acceptance probability of the last E-step


def build(
    model: Model,
    optimiser: Optimiser,
    n_train: int,
    n_leapfrog: int = 10,
    acceptance: float = 0.9,
    n_updates: int = 5,
) -> Estimator:
    """n_leapfrog, acceptance and n_updates are Appendix E's 10, 90 % and 5."""

    def init(params: Params) -> State:
        theta = params.theta
        zero = torch.zeros_like(theta["b_h"][:, 0, 0])
        # the weights start near zero, so the posterior starts near the prior, whose mode is z = 0
        z = zero.new_zeros(len(zero), n_train, model.n_latent)
        log_step = torch.full_like(z[..., 0], INITIAL_STEP).log()
        params = Params(theta, {})
        return State(params, optimiser.init(params), z, log_step, zero)

    def draw(generator: torch.Generator, batch_size: int) -> hmc.Noise:
        return hmc.draw_noise(generator, (batch_size, model.n_latent))

    def e_step(state: State, x: Tensor, noise: hmc.Noise) -> tuple[Tensor, Tensor]:
        """New positions (M, N, N_z) and acceptance probabilities (M, N)."""
        moved, accepted = [], []
        for rows in torch.arange(n_train, device=x.device).split(CHUNK):
            log_prob = _posterior(model, state.params.theta, x[:, rows])
            point, probability = hmc.transition(
                log_prob,
                hmc.at(log_prob, state.z[:, rows]),
                hmc.Noise(noise.momentum[:, rows], noise.u[:, rows]),
                state.log_step[:, rows].exp(),
                n_leapfrog,
            )
            moved.append(point.z)
            accepted.append(probability)
        return torch.cat(moved, 1), torch.cat(accepted, 1).to(x.dtype)

    def m_step(params: Params, optimiser_state: Any, x: Tensor, z: Tensor) -> tuple[Params, Any, Tensor]:
        """One ascent of sum_i log p(x_i, z_i) + log p(theta); the objective (M,) comes back too."""
        total: Tensor = torch.zeros_like(x[:, 0, 0])
        grads = None
        for x_rows, z_rows in zip(x.split(CHUNK, 1), z.split(CHUNK, 1), strict=True):

            def objective(params: Params, x_rows: Tensor = x_rows, z_rows: Tensor = z_rows) -> Tensor:
                return model.log_joint(params.theta, x_rows, z_rows.unsqueeze(1)).sum((1, 2))

            value, chunk_grads = gradient(objective, params)
            total = total + value
            grads = chunk_grads if grads is None else _add(grads, chunk_grads)
        assert grads is not None
        params, optimiser_state = optimiser.ascend(optimiser_state, params, grads, 1.0)
        return params, optimiser_state, total

    def step(state: State, x: Tensor, noise: hmc.Noise) -> tuple[State, Info]:
        z, probability = e_step(state, x, noise)
        log_step = state.log_step + GAIN * (probability - acceptance)
        params, optimiser_state = state.params, state.optimiser
        for _ in range(n_updates):
            params, optimiser_state, total = m_step(params, optimiser_state, x, z)
        state = State(params, optimiser_state, z, log_step, probability.mean(-1))
        surrogate = total / n_train
        return state, Info(torch.full_like(surrogate, torch.nan), surrogate)

    return Estimator(init, draw, step, full_batch=True, evaluations=n_leapfrog + n_updates)


def _posterior(model: Model, theta: Weights, x: Tensor) -> hmc.LogProb:
    """z (M, B, N_z) -> log p(x, z) (M, B), the posterior's density up to a constant."""
    return lambda z: model.log_joint(theta, x, z.unsqueeze(1)).squeeze(1)


def _add(a: Params, b: Params) -> Params:
    return Params({name: a.theta[name] + b.theta[name] for name in a.theta}, {})
