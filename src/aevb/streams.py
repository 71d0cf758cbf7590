"""Random streams, keyed by what they are for."""

import hashlib

import torch


def stream(device: torch.device, seed: int, purpose: str, block: int = 0) -> torch.Generator:
    """The stream of (run seed, purpose, block of steps), never of a position in a stack of runs."""
    return restart(torch.Generator(device), seed, purpose, block)


def restart(generator: torch.Generator, seed: int, purpose: str, block: int) -> torch.Generator:
    """Put a generator at the beginning of the stream of (run seed, purpose, block)."""
    key = hashlib.sha256(f"{seed}/{purpose}/{block}".encode()).digest()
    return generator.manual_seed(int.from_bytes(key[:8], "big") >> 1)
