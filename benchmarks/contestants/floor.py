"""The arithmetic floor: the matrix products that a step cannot do without, and nothing else.

Each is one `torch.mm` into a tensor made beforehand: no random numbers, no elementwise work, no optimiser, no new
minibatch. A contestant's share of the floor says how much of its time goes into what cannot be avoided.
"""

from typing import NamedTuple

import torch

from aevb.data import Split
from contestants import Outcome, Run
from workloads import Workload

# tensors by name with their axes: B points, D features, H hidden units, Z latent variables; d_* is a gradient
AXES = {
    "x": "BD", "h": "BH", "mu": "BZ", "log_var": "BZ", "z": "BZ", "g": "BH", "y": "BD", "y_log_var": "BD",
    "phi_h": "DH", "phi_mu": "HZ", "phi_log_var": "HZ", "theta_h": "ZH", "theta_y": "HD", "theta_y_log_var": "HD",
}  # fmt: skip


class Product(NamedTuple):
    """out = a b, summed over the axis that a and b share and out lacks; which one to transpose follows."""

    out: str
    a: str
    b: str


def products(workload: Workload) -> list[Product]:
    """What one step of the workload needs, in the order in which a step has it."""
    outputs = ["y"] if workload.log_var_floor is None else ["y", "y_log_var"]
    encode = _forward("x", "h", "phi", ["mu", "log_var"])
    learn_phi = _backward("x", "h", "phi", ["mu", "log_var"])
    decode = _forward("z", "g", "theta", outputs)
    learn_theta = _backward("z", "g", "theta", outputs)
    through_decoder = Product("d_z", "d_g", "theta_h")
    if workload.estimator == "aevb":  # x is data: no gradient reaches it
        return [*encode, *decode, *learn_theta, through_decoder, *learn_phi]
    if workload.estimator == "wake_sleep":  # wake: z is fixed; sleep: dream, then learn to invert it
        return [*encode, *decode, *learn_theta, *decode, *encode, *learn_phi]
    to_hidden = [Product("d_g", f"d_{y}", f"theta_{y}") for y in outputs]
    return [*decode, *to_hidden, through_decoder] * workload.n_leapfrog  # weights are fixed, z moves


def _forward(source: str, hidden: str, weights: str, outputs: list[str]) -> list[Product]:
    heads = [Product(y, hidden, f"{weights}_{y}") for y in outputs]
    return [Product(hidden, source, f"{weights}_h"), *heads]


def _backward(source: str, hidden: str, weights: str, outputs: list[str]) -> list[Product]:
    """Gradients of all weights of an MLP, and of its hidden layer, from those of its outputs."""
    heads = [
        product
        for y in outputs
        for product in (
            Product(f"d_{weights}_{y}", hidden, f"d_{y}"),
            Product(f"d_{hidden}", f"d_{y}", f"{weights}_{y}"),
        )
    ]
    return [*heads, Product(f"d_{weights}_h", source, f"d_{hidden}")]


def sizes(workload: Workload, n_features: int) -> dict[str, int]:
    batch = workload.n_points if workload.task == "hmc" else workload.batch_size
    return {"B": batch, "D": n_features, "H": workload.n_hidden, "Z": workload.n_latent}


def flops(workload: Workload, n_features: int) -> int:
    """Floating-point operations of one step's products; a multiplication and an addition are two."""
    size = sizes(workload, n_features)
    total = 0
    for product in products(workload):
        m, n = axes(product.out)
        (inner,) = set(axes(product.a)) & set(axes(product.b)) - set(axes(product.out))
        total += 2 * size[m] * size[n] * size[inner]
    return total


def axes(name: str) -> str:
    return AXES[name.removeprefix("d_")]


def prepare(workload: Workload, split: Split) -> Run:
    size = sizes(workload, split.train.shape[1])
    torch.manual_seed(0)
    needed = products(workload)
    names = {name for product in needed for name in product}
    tensors = {name: torch.randn([size[axis] for axis in axes(name)]) for name in sorted(names)}

    def operands(product: Product) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        out, a, b = (tensors[name] for name in product)
        rows, columns = axes(product.out)
        a = a if axes(product.a)[0] == rows else a.T
        b = b if axes(product.b)[1] == columns else b.T
        return out, a, b

    step = [operands(product) for product in needed]

    def run(n_steps: int) -> Outcome:
        for _ in range(n_steps):
            for out, a, b in step:
                torch.mm(a, b, out=out)
        return Outcome(n_steps, float("nan"))

    return run
