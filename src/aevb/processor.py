"""What a job asks of the processor and the C library before it computes."""

import ctypes

import torch


def prepare(threads: int) -> None:
    """Set up this process; `threads` are those of one operation. Call it before anything is computed."""
    # Numbers below 1e-38 become zero. Processors take a hundred times as long to compute with them, and the squared
    # gradients at an image's margin are such; torch's threads inherit the setting when they start.
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    # a GPU rounds the factors of a product to half their digits where a container's environment says it may
    torch.set_float32_matmul_precision("highest")
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next step.

    By default it may hand megabytes back to the kernel at every step, which then has to clear each page anew:
    over a third of a step's time on the wide models. Other C libraries have no mallopt and need none of this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        mallopt(trim_threshold, 2**30)
        mallopt(mmap_threshold, 2**25)
