"""JAX as its users write it: one jitted `lax.scan` over a block of 100 steps, optax, weights donated to the block.

Points are kept as float32 on the device and enter the block as an argument. Weight decay falls on biases too.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aevb.data import Split
from contestants import Outcome, Run
from workloads import STEP_SIZE, Workload

BLOCK = 100
Array = jax.Array
Mlp = dict[str, dict[str, Array]]
Params = dict[str, Mlp]
LOG_2PI = math.log(2 * math.pi)


def prepare(workload: Workload, split: Split) -> Run:
    points = jnp.asarray(split.train, jnp.float32) / split.scale
    optimiser = optax.chain(optax.add_decayed_weights(1 / len(points)), optax.adagrad(STEP_SIZE, eps=1e-8))
    estimate = partial({"aevb": aevb, "wake_sleep": wake_sleep}[workload.estimator], workload.log_var_floor)

    def step(points: Array, carry: Any, key: Array) -> tuple[Any, Array]:
        params, optimiser_state = carry
        key_batch, key_noise = jax.random.split(key)
        chosen = jax.random.randint(key_batch, (workload.batch_size,), 0, len(points))
        bound, grads = estimate(params, points[chosen], key_noise)
        updates, optimiser_state = optimiser.update(grads, optimiser_state, params)
        return (optax.apply_updates(params, updates), optimiser_state), bound

    @partial(jax.jit, donate_argnums=0)
    def block(carry: Any, points: Array, key: Array) -> tuple[Any, Array]:
        carry, bounds = jax.lax.scan(partial(step, points), carry, jax.random.split(key, BLOCK))
        return carry, bounds.mean()

    key = jax.random.key(0)
    params = init(key, workload, points.shape[1])
    carry = params, optimiser.init(params)

    def run(n_steps: int) -> Outcome:
        nonlocal carry, key
        bounds = []
        while len(bounds) * BLOCK < n_steps:
            key, key_block = jax.random.split(key)
            carry, bound = block(carry, points, key_block)
            bounds.append(bound)
        return Outcome(len(bounds) * BLOCK, float(jnp.stack(bounds).mean()))

    return run


# ------------------------------------------------------------------------------------------------- estimators


def aevb(floor: float | None, params: Params, x: Array, key: Array) -> tuple[Array, Params]:
    """The mean ELBO of a minibatch, and the gradient of minus it."""

    def loss(params: Params) -> Array:
        q = encode(params["phi"], x)
        z = sample(q, key)
        return (kl(q) - log_likelihood(floor, params["theta"], x, z)).mean()

    value, grads = jax.value_and_grad(loss)(params)
    return -value, grads


def wake_sleep(floor: float | None, params: Params, x: Array, key: Array) -> tuple[Array, Params]:
    """The mean ELBO of the wake phase's minibatch, and both phases' gradients."""
    key_wake, key_z, key_x = jax.random.split(key, 3)
    q = encode(params["phi"], x)
    z = sample(q, key_wake)
    prior_z = jax.random.normal(key_z, z.shape)
    dreamt = dream(floor, params["theta"], prior_z, key_x)

    def wake(theta: Mlp) -> Array:
        return -log_likelihood(floor, theta, x, z).mean()

    def sleep(phi: Mlp) -> Array:
        return -gaussian_log_prob(encode(phi, dreamt), prior_z).mean()

    reconstruction, theta_grads = jax.value_and_grad(wake)(params["theta"])
    phi_grads = jax.grad(sleep)(params["phi"])
    return -reconstruction - kl(q).mean(), {"theta": theta_grads, "phi": phi_grads}


# ------------------------------------------------------------------------------------------------------ model


def init(key: Array, workload: Workload, n_features: int) -> Params:
    outputs = ["x"] if workload.log_var_floor is None else ["mu", "log_var"]
    key_theta, key_phi = jax.random.split(key)
    hidden, latent = workload.n_hidden, workload.n_latent
    return {
        "theta": init_mlp(key_theta, latent, hidden, dict.fromkeys(outputs, n_features)),
        "phi": init_mlp(key_phi, n_features, hidden, {"mu": latent, "log_var": latent}),
    }


def init_mlp(key: Array, n_in: int, n_hidden: int, heads: dict[str, int]) -> Mlp:
    shapes = {"h": (n_in, n_hidden)} | {name: (n_hidden, n_out) for name, n_out in heads.items()}
    keys = jax.random.split(key, len(shapes))
    return {
        name: {"w": 0.01 * jax.random.normal(key, shape), "b": jnp.zeros(shape[1])}
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def dense(layer: dict[str, Array], x: Array) -> Array:
    return x @ layer["w"] + layer["b"]


def encode(phi: Mlp, x: Array) -> tuple[Array, Array]:
    h = jnp.tanh(dense(phi["h"], x))
    return dense(phi["mu"], h), dense(phi["log_var"], h)


def decode_gaussian(floor: float, theta: Mlp, z: Array) -> tuple[Array, Array]:
    h = jnp.tanh(dense(theta["h"], z))
    return jax.nn.sigmoid(dense(theta["mu"], h)), jnp.maximum(dense(theta["log_var"], h), floor)


def decode_bernoulli(theta: Mlp, z: Array) -> Array:
    return dense(theta["x"], jnp.tanh(dense(theta["h"], z)))


def log_likelihood(floor: float | None, theta: Mlp, x: Array, z: Array) -> Array:
    if floor is not None:
        return gaussian_log_prob(decode_gaussian(floor, theta, z), x)
    logits = decode_bernoulli(theta, z)
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def dream(floor: float | None, theta: Mlp, z: Array, key: Array) -> Array:
    if floor is not None:
        return sample(decode_gaussian(floor, theta, z), key).clip(0, 1)
    return jax.random.bernoulli(key, jax.nn.sigmoid(decode_bernoulli(theta, z))).astype(z.dtype)


def sample(gaussian: tuple[Array, Array], key: Array) -> Array:
    mu, log_var = gaussian
    return mu + jnp.exp(0.5 * log_var) * jax.random.normal(key, mu.shape)


def gaussian_log_prob(gaussian: tuple[Array, Array], x: Array) -> Array:
    mu, log_var = gaussian
    return -0.5 * (LOG_2PI + log_var + (x - mu) ** 2 * jnp.exp(-log_var)).sum(-1)


def kl(gaussian: tuple[Array, Array]) -> Array:
    mu, log_var = gaussian
    return -0.5 * (1 + log_var - mu**2 - jnp.exp(log_var)).sum(-1)
