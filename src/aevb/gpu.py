"""Whether jobs will find a GPU: asked of its driver, since torch takes a second at each of Snakemake's starts."""

import os
import re

import pynvml

NAME = "(GPU|MIG)-"  # how a device's begins, where the list has no number


def visible() -> bool:
    """Whether there is a GPU that CUDA_VISIBLE_DEVICES, which jobs inherit, does not hide."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    count = _installed()
    # CUDA reads the list up to the first that it cannot have, as -1, or Slurm's NoDevFiles
    return count > 0 and (int(first) < count if first.isdigit() else re.match(NAME, first) is not None)


def _installed() -> int:
    """The driver's GPUs: none where there is no driver, or a container was given no device."""
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
