"""What is timed: the paper's training steps, and HMC transitions on a decoder of Figure 3."""

import math
from dataclasses import dataclass

import numpy as np

STEP_SIZE = 0.02  # of Adagrad; one of the paper's three


@dataclass(frozen=True)
class Workload:
    """The same model and the same work for every contestant.

    One step is a minibatch of `batch_size` training points (tasks "training"), or one transition of
    `n_leapfrog` leapfrog steps for each of `n_points` test points (task "hmc").
    """

    dataset: str
    estimator: str  # aevb, wake_sleep or hmc
    n_hidden: int
    n_latent: int
    contestants: tuple[str, ...]
    log_var_floor: float | None = None  # given for a Gaussian decoder, as in aevb.models.build
    batch_size: int = 100
    n_points: int = 1000
    n_leapfrog: int = 10
    leapfrog_size: float = 0.1

    @property
    def task(self) -> str:
        return "hmc" if self.estimator == "hmc" else "training"

    @property
    def unit(self) -> str:
        return "leapfrog steps/s" if self.task == "hmc" else "samples/s"

    @property
    def units_per_step(self) -> int:
        return self.n_points * self.n_leapfrog if self.task == "hmc" else self.batch_size


MNIST = {"dataset": "mnist", "n_hidden": 500, "n_latent": 20}
FREY = {"dataset": "frey", "n_hidden": 200, "n_latent": 20, "log_var_floor": -13.6}
LIBRARIES = ("suite", "jax", "torch", "pyro", "pythae", "floor")  # whose users would train MNIST's VAE
BOTH = ("suite", "jax", "torch", "floor")

WORKLOADS = (
    Workload(**MNIST, estimator="aevb", contestants=LIBRARIES),
    Workload(**FREY, estimator="aevb", contestants=BOTH),
    Workload(**MNIST, estimator="wake_sleep", contestants=BOTH),
    Workload(**FREY, estimator="wake_sleep", contestants=BOTH),
    Workload("mnist", "hmc", n_hidden=100, n_latent=3, contestants=("suite", "blackjax", "floor")),
)


def hmc_decoder(workload: Workload, n_features: int) -> dict[str, np.ndarray]:
    """The decoder whose posterior the chains explore: random weights, the same for every contestant.

    Weights of a trained model would cost the same. The variances keep both layers' inputs near one.
    """
    random = np.random.default_rng(0)
    weights = {
        "w_h": random.standard_normal((workload.n_latent, workload.n_hidden)) / math.sqrt(workload.n_latent),
        "b_h": np.zeros((1, workload.n_hidden)),
        "w_out": random.standard_normal((workload.n_hidden, n_features)) / math.sqrt(workload.n_hidden),
        "b_out": np.zeros((1, n_features)),
    }
    return {name: w.astype(np.float32) for name, w in weights.items()}
