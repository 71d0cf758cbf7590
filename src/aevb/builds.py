"""What software and machine train a run: a part of its record, and no part of its numbers' address."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def build() -> dict[str, Any]:
    """The software that numbers depend on, the machine, and the threads of this process."""
    return {
        "aevb": importlib.metadata.version("aevb"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }


def versions(builds: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of several, each software and machine that took part, in their order; without the threads."""
    names = [name for name in builds[0] if name != "threads"]
    return {name: " + ".join(dict.fromkeys(build[name] for build in builds)) for name in names}
