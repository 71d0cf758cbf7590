"""How training tells people how far it is: lines of plain text."""

import sys
import time
from typing import TextIO

from aevb.trace import Trace

PERIOD = 10.0  # seconds between two lines at a terminal


class Progress:
    """Called after every block: a line in the log at each report point, and one at a terminal every few seconds.

    Jobs run side by side, so a terminal gets whole lines that name their cell, and no bars.
    """

    def __init__(
        self, name: str, samples: int, log: TextIO = sys.stderr, screen: TextIO = sys.stdout
    ) -> None:
        """name: of the cell; samples: how far it is trained."""
        self.name, self.samples, self.log, self.screen = name, samples, log, screen
        self._began: tuple[int, float] | None = None  # samples and time at the first call
        self._reached = 0  # samples at the last call
        self._shown = time.monotonic()

    def __call__(self, traces: list[Trace]) -> None:
        now = time.monotonic()
        # seeds that stood at other points train one group after another, each from where it is
        if self._began is None or traces[0].samples <= self._reached:
            self._began = traces[0].samples, now
        self._reached = traces[0].samples
        if traces[0].bound_steps == 0:  # they have just been reported
            print(self._line(traces, now), file=self.log, flush=True)
        if self.screen.isatty() and now - self._shown > PERIOD:
            print(f"{self.name}: {self._line(traces, now)}", file=self.screen, flush=True)
            self._shown = now

    def _line(self, traces: list[Trace], now: float) -> str:
        done = traces[0].samples
        bounds = " ".join(f"{trace.rows[-1]['bound']:.2f}" if trace.rows else "none" for trace in traces)
        speed = self._speed(traces, now)
        left = max(0, self.samples - done) / speed
        return (
            f"{done:>12,} of {self.samples:,} samples  {len(traces) * speed:>9,.0f} samples/s  bound {bounds}"
            f"  {_clock(left)} left"
        )

    def _speed(self, traces: list[Trace], now: float) -> float:
        """Samples of each run per second: of this session, or, when it has just begun, of the run so far."""
        assert self._began is not None
        samples, began = self._began
        if traces[0].samples > samples:
            return (traces[0].samples - samples) / (now - began)
        return traces[0].samples / max(traces[0].seconds, 1e-9)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
