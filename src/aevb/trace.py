"""What one run records while it trains: its counters, its learning curve, and where it diverged."""

import math
from dataclasses import dataclass, field
from typing import Any

from aevb.divergence import Fault


@dataclass
class Trace:
    """What one run has recorded so far; JSON values, kept beside its checkpoint."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0  # of the runs that train side by side: one clock
    device_seconds: float = 0.0  # this run's share of them
    joules: float = 0.0  # its share of what they used; NaN where a part of it was not metered
    bound_sum: float = 0.0  # of the minibatch bounds since the last report
    bound_steps: int = 0
    surrogate: float = float("nan")  # of the last step
    diverged_at: int | None = None  # samples at the end of the block in which it did
    diverged_step: int | None = None  # and the very step,
    diverged_tensor: str | None = None  # with what was the first not to be finite there
    rows: list[dict[str, Any]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)  # the kinds that it was trained on, in their order
    builds: list[dict[str, Any]] = field(
        default_factory=list
    )  # what software and machine trained it, in their order
    # the members that trained side by side, this one too
    stack: list[list[float]] = field(default_factory=list)

    def trains_on(self, device: str, build: dict[str, Any]) -> None:
        if device not in self.devices:
            self.devices.append(device)
        if build not in self.builds:
            self.builds.append(build)

    def add_block(
        self, steps: int, samples: int, seconds: float, runs: int, bound: float, surrogate: float
    ) -> None:
        """A block of so many steps of so many runs side by side; bound: the sum of its minibatch bounds."""
        self.step += steps
        self.samples += samples
        self.seconds += seconds
        self.device_seconds += seconds / runs
        self.bound_sum += bound
        self.bound_steps += steps
        self.surrogate = surrogate

    def diverge(self, fault: Fault) -> None:
        """Mark the run as diverged in the block just added; the first mark stays."""
        if self.diverged_at is None:
            self.diverged_at = self.samples
            self.diverged_step, self.diverged_tensor = fault

    def lost_by(self, samples: int) -> bool:
        """Whether the run had diverged when it had seen so many samples."""
        return self.diverged_at is not None and self.diverged_at <= samples

    def report(self, bounds: dict[str, float]) -> None:
        """Add each split's bound to the curve. A run that has diverged, by them or before, has no bound."""
        lost = [split for split, bound in bounds.items() if not math.isfinite(bound)]
        if lost:
            self.diverge(Fault(self.step, f"bound on {lost[0]}"))
        for split, bound in bounds.items():
            shown = bound if self.diverged_at is None else math.nan
            self.rows.append(
                {"samples": self.samples, "split": split, "bound": shown, "seconds": self.seconds}
            )
        self.bound_sum, self.bound_steps = 0.0, 0
