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
    """A count of energy that only grows, until it starts again from zero at `wraps_at`."""

    read: Callable[[], int]
    joules: float  # of one unit
    wraps_at: int


class Meter:
    """Joules from one call to the next; NaN where there is no counter."""

    def __init__(self, counters: list[Counter], share: Callable[[], float]) -> None:
        """share: of what was used since it was last called, what is this process's; 0 to 1."""
        self.counters, self._share = counters, share
        self._last = [counter.read() for counter in counters]
        share()

    def __call__(self) -> float:
        if not self.counters:
            return math.nan
        now = [counter.read() for counter in self.counters]
        used = [
            (count - before) % counter.wraps_at * counter.joules
            for counter, before, count in zip(self.counters, self._last, now, strict=True)
        ]
        self._last = now
        return sum(used) * self._share()


def meter(device: torch.device) -> Meter:
    """Of the energy that this process uses on `device`, from now on."""
    if device.type == "cuda":
        return Meter(_card(device), all_of_it)  # one training job has the card: `gpu: 1`
    packages = _packages()
    return Meter(packages, ShareOfProcessor() if packages else all_of_it)


def all_of_it() -> float:
    return 1.0


def _card(device: torch.device) -> list[Counter]:
    import pynvml  # a computer without a card has no use for it

    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
    except pynvml.NVMLError:
        return []
    return [Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(card), 1e-3, 2**64)]


def _packages() -> list[Counter]:
    """The packages alone: `intel-rapl:0:0` and so on are parts of one, and `psys` on a laptop is all of it again."""
    zones = sorted(POWERCAP.glob("intel-rapl:*"))
    try:
        return [_zone(zone) for zone in zones if (zone / "name").read_text().startswith("package")]
    except OSError:
        return []


def _zone(zone: Path) -> Counter:
    def read() -> int:
        return int((zone / "energy_uj").read_text())

    read()
    return Counter(read, 1e-6, int((zone / "max_energy_range_uj").read_text()) + 1)


class ShareOfProcessor:
    """Of the time that the machine's processors have worked since the last call, what was for this process."""

    def __init__(self) -> None:
        self._last = self._now()

    def __call__(self) -> float:
        now = self._now()
        own, all_ = (after - before for before, after in zip(self._last, now, strict=True))
        self._last = now
        return own / max(
            own, all_, 1e-9
        )  # the kernel's count is of hundredths of a second, and may lag behind

    def _now(self) -> tuple[float, float]:
        user, nice, system, _idle, _waiting, interrupts, soft = map(int, STAT.read_text().split()[1:8])
        return time.process_time(), (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
