"""What the suite is timed against, one file each, written as the users of that library write it.

Every file has `prepare(workload, split) -> Run`, and a Run brings its own training (or sampling) forward by n steps
and returns when they are done. All see the same model, minibatches of the same size, an N(0, 1) prior on weights
(weight decay), Adagrad and single precision. What each keeps of its library's own habits (initial weights,
Adagrad's epsilon, how minibatches are drawn) is what one gets by picking that library.
"""

import importlib
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aevb.data import Split
    from workloads import Workload


class Outcome(NamedTuple):
    """What one call of a Run did.

    steps: at least the number asked for; a contestant that goes in blocks or epochs rounds up to whole ones.
    value: proof of work. Training: the mean bound of these steps' minibatches, in nats per data point; HMC:
    the mean acceptance probability; the floor: NaN.
    """

    steps: int
    value: float


Run = Callable[[int], Outcome]

PACKAGES = {  # that pip must have installed for each contestant; the first gives the version in the table
    "suite": ("aevb",),
    "jax": ("jax", "optax"),
    "torch": ("torch",),
    "pyro": ("pyro-ppl",),
    "pythae": ("pythae",),
    "blackjax": ("blackjax", "jax"),
    "floor": ("torch",),
}


def prepare(name: str, workload: "Workload", split: "Split") -> Run:
    run: Run = importlib.import_module(f"contestants.{name}").prepare(workload, split)
    return run


def version(name: str) -> str:
    """Such as "jax 0.10.2"."""
    package = PACKAGES[name][0]
    return f"{package} {metadata.version(package)}"


def missing(names: list[str]) -> list[str]:
    """The packages that these contestants need and that are not installed."""
    needed = dict.fromkeys(package for name in names for package in PACKAGES[name])
    return [package for package in needed if not _installed(package)]


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
