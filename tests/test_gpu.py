"""gpu.py: a GPU is used where CUDA would find one, on a driver that is made up here."""

import pynvml
import pytest

from aevb import config, gpu
from test_config import RAW


@pytest.fixture
def driver(monkeypatch):
    """An NVML with so many GPUs."""

    def install(count):
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: count)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return install


@pytest.mark.parametrize(("count", "found"), [(0, False), (1, True), (8, True)])
def test_a_gpu_is_one_that_the_driver_has(driver, count, found):
    driver(count)
    assert gpu.visible() == found


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        *[("", False), (" ", False), ("-1", False), ("-1,0", False), ("NoDevFiles", False)],
        *[("0", True), ("1,-1", True), (" 1", True), ("GPU-0a1b", True), ("MIG-0a1b", True)],
        *[("2", False), ("7,0", False)],  # there are two
    ],
)
def test_a_gpu_that_jobs_do_not_see_is_none(driver, monkeypatch, listed, found):
    driver(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert gpu.visible() == found


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_without_a_driver_there_is_none(driver, monkeypatch, error):
    def fails():
        raise pynvml.NVMLError(error)

    driver(1)
    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    assert not gpu.visible()


@pytest.mark.parametrize("there", [True, False])
def test_the_device_decides_and_auto_looks(monkeypatch, there):
    monkeypatch.setattr(gpu, "visible", lambda: there)
    used = {name: config.parse(RAW | {"device": name}).uses_gpu() for name in ("auto", "cpu", "cuda")}
    assert used == {"auto": there, "cpu": False, "cuda": True}
