"""Joules that a run costs, where the device has a meter that this process may read.

A GPU: NVML's counter of the whole card (Volta and later; not of a MIG slice). A CPU: the kernel's RAPL counters of
the packages, without memory, which many systems let only root read; of what they count a process gets its share of
the processor time that the machine spent meanwhile, so that processes side by side add up to what the packages used.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

POWERCAP = Path("/sys/class/powercap")
STAT = Path("/proc/stat")


class Counter(NamedTuple):
    """A count of energy that only grows, until it starts again from zero at `wraps_at`.

    `read` may raise OSError or ValueError."""

    read: Callable[[], int]
    joules: float  # of one unit
    wraps_at: float = math.inf


class Meter:
    """Joules from one call to the next; NaN where there is no counter, and from where one cannot be read any more: a
    run is never lost for what it costs."""

    def __init__(self, counters: list[Counter], share: Callable[[], float]) -> None:
        """share: of what was used since it was last called, what is this process's; 0 to 1."""
        self.counters, self._share = counters, share
        self._last = [counter.read() for counter in counters]
        share()

    def __call__(self) -> float:
        if not self.counters:
            return math.nan
        try:
            now = [counter.read() for counter in self.counters]
            share = self._share()
        except (OSError, ValueError):
            self.counters = []
            return math.nan
        used = sum(
            (count - before) % counter.wraps_at * counter.joules
            for counter, before, count in zip(self.counters, self._last, now, strict=True)
        )
        self._last = now
        return used * share if math.isfinite(used) else math.nan  # a count that cannot wrap, and was set back


def meter(device: torch.device) -> Meter:
    """Of the energy that this process uses on `device`, from now on."""
    try:
        if device.type == "cuda":
            return Meter([_card(device)], all_of_it)  # one training job has the card: `gpu: 1`
        return Meter(_packages(), ShareOfProcessor())
    except (ImportError, OSError, ValueError):
        return Meter([], all_of_it)


def all_of_it() -> float:
    return 1.0


def _card(device: torch.device) -> Counter:
    import pynvml  # a computer without a card has no use for it

    def read() -> int:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(card))
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError as error:
        raise OSError(str(error)) from error
    return Counter(read, 1e-3)


def _packages() -> list[Counter]:
    """The packages alone: `intel-rapl:0:0` and so on are parts of one, and `psys` on a laptop is all of it again."""
    zones = sorted(POWERCAP.glob("intel-rapl:*"))
    return [_zone(zone) for zone in zones if (zone / "name").read_text().startswith("package")]


def _zone(zone: Path) -> Counter:
    return Counter(
        lambda: int((zone / "energy_uj").read_text()),
        1e-6,
        int((zone / "max_energy_range_uj").read_text()) + 1,
    )


class ShareOfProcessor:
    """Of the time that the machine's processors have worked since the last call, what was for this process.

    Raises OSError or ValueError where the kernel does not tell."""

    def __init__(self) -> None:
        self._last = self._now()

    def __call__(self) -> float:
        now = self._now()
        own, all_ = (after - before for before, after in zip(self._last, now, strict=True))
        self._last = now
        # the kernel counts hundredths of a second, and may lag behind
        return own / max(own, all_, 1e-9)

    def _now(self) -> tuple[float, float]:
        user, nice, system, _idle, _waiting, interrupts, soft = map(int, STAT.read_text().split()[1:8])
        worked = user + nice + system + interrupts + soft
        if worked == 0:
            raise ValueError(f"{STAT} counts no time")
        return time.process_time(), worked / os.sysconf("SC_CLK_TCK")
