"""BlackJAX: its HMC kernel with a unit mass matrix, vmapped over points, scanned over 10 transitions, jitted."""

import jax
import jax.numpy as jnp
from blackjax.mcmc import hmc

from aevb.data import Split
from contestants import Outcome, Run
from workloads import Workload, hmc_decoder

BLOCK = 10
Array = jax.Array


def prepare(workload: Workload, split: Split) -> Run:
    x = jnp.asarray(split.test[: workload.n_points], jnp.float32) / split.scale
    theta = {name: jnp.asarray(w) for name, w in hmc_decoder(workload, x.shape[1]).items()}
    kernel = hmc.build_kernel()
    inverse_mass = jnp.ones(workload.n_latent)

    def log_joint(x: Array, z: Array) -> Array:
        h = jnp.tanh(z @ theta["w_h"] + theta["b_h"][0])
        logits = h @ theta["w_out"] + theta["b_out"][0]
        return (x * logits - jax.nn.softplus(logits)).sum() + jax.scipy.stats.norm.logpdf(z).sum()

    def transition(key: Array, state: hmc.HMCState, x: Array) -> tuple[hmc.HMCState, hmc.HMCInfo]:
        def target(z: Array) -> Array:
            return log_joint(x, z)

        return kernel(key, state, target, workload.leapfrog_size, inverse_mass, workload.n_leapfrog)

    def step(states: hmc.HMCState, key: Array) -> tuple[hmc.HMCState, Array]:
        states, info = jax.vmap(transition)(jax.random.split(key, len(x)), states, x)
        return states, info.acceptance_rate.mean()

    @jax.jit
    def block(states: hmc.HMCState, key: Array) -> tuple[hmc.HMCState, Array]:
        states, accepted = jax.lax.scan(step, states, jax.random.split(key, BLOCK))
        return states, accepted.mean()

    key = jax.random.key(0)
    zeros = jnp.zeros((len(x), workload.n_latent))
    states = jax.vmap(lambda z, x: hmc.init(z, lambda z: log_joint(x, z)))(zeros, x)

    def run(n_steps: int) -> Outcome:
        nonlocal states, key
        accepted = []
        while len(accepted) * BLOCK < n_steps:
            key, key_block = jax.random.split(key)
            states, acceptance = block(states, key_block)
            accepted.append(acceptance)
        return Outcome(len(accepted) * BLOCK, float(jnp.stack(accepted).mean()))

    return run
