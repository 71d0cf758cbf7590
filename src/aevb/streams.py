"""Random streams, keyed by what they are for."""

import hashlib

import torch


def stream(device: torch.device, seed: int, purpose: str, block: int = 0) -> torch.Generator:
    """The stream of (run seed, purpose, block of steps), never of a position in a stack of runs."""
    key = hashlib.sha256(f"{seed}/{purpose}/{block}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(key[:8], "big") >> 1)
