"""Whether jobs will find a GPU: asked of its driver, since torch takes a second at each of Snakemake's starts."""

import os
import re

import pynvml

IDENTIFIER = r"\d+|(GPU|MIG)-.+"  # of a device, by its number or its name


def visible() -> bool:
    """Whether there is a GPU that CUDA_VISIBLE_DEVICES, which jobs inherit, does not hide."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    # CUDA reads the list up to the first that it cannot have, as -1, or Slurm's NoDevFiles
    return re.fullmatch(IDENTIFIER, first) is not None and _installed() > 0


def _installed() -> int:
    """The driver's GPUs: none where there is no driver, or a container was given no device."""
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
