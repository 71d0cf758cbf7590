"""energy.py: joules from counters that are made up here, since few machines let a test read theirs."""

import importlib
import math
import subprocess
import sys
import types

import pytest
import torch

from aevb import energy
from aevb.energy import Counter, Meter
from helpers import CPU


def meter(readings: list[int], wraps_at: float = 1000, shares: tuple[float, ...] = (1.0,) * 9) -> Meter:
    """Of one counter in tenths of a joule that gives these readings."""
    source, parts = iter(readings), iter(shares)
    return Meter([Counter(lambda: next(source), 0.1, wraps_at)], lambda: next(parts))


def test_a_call_gives_what_was_used_since_the_one_before():
    used = meter([500, 600, 600, 900])
    assert [used(), used(), used()] == pytest.approx([10.0, 0.0, 30.0])


def test_a_counter_that_starts_again_loses_nothing():
    assert meter([990, 15])() == pytest.approx(2.5)


def test_what_others_used_is_not_in_it():
    used = meter([0, 100, 300], shares=(1.0, 0.5, 0.25))
    assert [used(), used()] == pytest.approx([5.0, 5.0])


def test_a_counter_that_fails_or_is_set_back_costs_no_run():
    def fails():
        raise OSError("No data available")

    values = iter([lambda: 500, lambda: 600, fails])
    used = Meter([Counter(lambda: next(values)(), 0.1)], energy.all_of_it)
    assert used() == pytest.approx(10.0)
    assert math.isnan(used())
    assert math.isnan(used()), "and it is not read again"
    assert math.isnan(meter([500, 20], wraps_at=math.inf)()), "a driver was loaded anew"


def test_without_a_counter_there_is_no_number():
    assert math.isnan(Meter([], lambda: 1.0)())


# -------------------------------------------------------------------------------------------- CPU: RAPL


@pytest.fixture
def laptop(tmp_path, monkeypatch):
    """A kernel's folders: two packages, a part of the first, the platform, and the first again under another name."""
    for zone, name, microjoules in (
        ("intel-rapl:0", "package-0", 10_000_000),
        ("intel-rapl:0:0", "core", 4_000_000),
        ("intel-rapl:1", "psys", 30_000_000),
        ("intel-rapl:2", "package-1", 90_000_000),
        ("intel-rapl-mmio:0", "package-0", 10_000_000),
    ):
        folder = tmp_path / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{microjoules}\n")
        (folder / "max_energy_range_uj").write_text("99999999\n")
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 0 0 0 0 0 0 0 0\ncpu0 100 0 0 0 0 0 0 0 0 0\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "STAT", stat)
    monkeypatch.setattr(energy.time, "process_time", lambda: 0.0)
    return tmp_path


def spend(folder, monkeypatch, own: float, busy: str) -> None:
    """Both packages use 5 and 15 J, the second past its range; this process `own` seconds of processor time."""
    (folder / "intel-rapl:0/energy_uj").write_text("15000000\n")
    (folder / "intel-rapl:0:0/energy_uj").write_text("8000000\n")
    (folder / "intel-rapl:1/energy_uj").write_text("60000000\n")
    (folder / "intel-rapl:2/energy_uj").write_text("5000000\n")
    (folder / "intel-rapl-mmio:0/energy_uj").write_text("15000000\n")
    (folder / "stat").write_text(busy)
    monkeypatch.setattr(energy.time, "process_time", lambda: own)


def test_a_processor_is_its_packages_alone_each_once(laptop, monkeypatch):
    used = energy.meter(CPU)
    spend(laptop, monkeypatch, own=10.0, busy="cpu  1100 0 0 77000 500 0 0 0 0 0\n")
    assert used() == pytest.approx(20.0)


def test_a_process_has_its_share_of_the_time_that_the_processors_worked(laptop, monkeypatch):
    used = energy.meter(CPU)
    # of 40 s in user, nice, system and both kinds of interrupts; not idle, nor waiting for a disk
    spend(laptop, monkeypatch, own=10.0, busy="cpu  2100 500 900 77000 5000 200 400 0 0 0\n")
    assert used() == pytest.approx(20.0 / 4)


def test_a_share_is_never_above_the_whole(laptop, monkeypatch):
    used = energy.meter(CPU)
    spend(laptop, monkeypatch, own=10.0, busy="cpu  1000 0 0 0 0 0 0 0 0 0\n")  # the kernel's count lags
    assert used() == pytest.approx(20.0)


def test_a_system_without_such_folders_has_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    monkeypatch.setattr(energy, "STAT", tmp_path / "stat")
    assert math.isnan(energy.meter(CPU)())


@pytest.mark.parametrize("text", ["", "cpu  1 2 3\n", "cpu  0 0 0 0 0 0 0 0 0 0\n"])
def test_without_a_processor_time_to_share_there_is_no_number(laptop, text):
    (laptop / "stat").write_text(text)
    assert math.isnan(energy.meter(CPU)())


def test_counters_that_only_root_may_read_are_none(laptop):
    (laptop / "intel-rapl:2/energy_uj").unlink()
    (laptop / "intel-rapl:2/energy_uj").mkdir()  # a test may run as root, who may read all
    assert math.isnan(energy.meter(CPU)())


@pytest.mark.skipif(not energy.STAT.exists(), reason="this system is no Linux and has no /proc/stat")
def test_the_process_of_this_machine_is_timed_by_the_clock_of_its_kernel():
    """/proc/stat in its real form: a process that works has a share, and one that sleeps next to none."""
    share = energy.ShareOfProcessor()
    subprocess.run([sys.executable, "-c", "for n in range(3 * 10**7): pass"], check=True)
    asleep = share()
    sum(n for n in range(3 * 10**7))
    working = share()
    assert 0 <= asleep < 0.2
    assert asleep < working <= 1


# -------------------------------------------------------------------------------------------- GPU: NVML


class NVMLError(Exception):
    pass


@pytest.fixture
def card(monkeypatch):
    """An NVML whose card has used so many millijoules, or refuses to say."""
    counted = {"GPU-0a-1b": 7_000_000}

    def total(handle):
        if counted[handle] is None:
            raise NVMLError("Not Supported")
        return counted[handle]

    def by_uuid(uuid):
        if uuid not in counted:
            raise NVMLError("Not Found")
        return uuid

    names = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetTotalEnergyConsumption": total,
    }
    library = types.ModuleType("pynvml")
    vars(library).update(names)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="0a-1b")
    )
    return counted


def test_a_card_is_asked_for_by_what_names_it_and_counts_in_thousandths(card):
    used = energy.meter(torch.device("cuda"))
    card["GPU-0a-1b"] += 450_000
    assert used() == pytest.approx(450.0)


@pytest.mark.parametrize("fault", [{"GPU-0a-1b": None}, {}])
def test_a_card_that_does_not_count_gives_no_number(card, fault):
    card.clear()
    card.update(fault)
    assert math.isnan(energy.meter(torch.device("cuda"))())


def test_a_card_that_stops_counting_gives_no_number(card):
    used = energy.meter(torch.device("cuda"))
    card["GPU-0a-1b"] = None
    assert math.isnan(used())


def test_without_the_library_there_is_no_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert math.isnan(energy.meter(torch.device("cuda"))())


def test_the_library_has_what_is_asked_of_it():
    """The real one, of which the card above is made up."""
    pynvml = importlib.import_module("pynvml")
    assert issubclass(pynvml.NVMLError, Exception)
    for name in ("nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"):
        assert callable(getattr(pynvml, name))
