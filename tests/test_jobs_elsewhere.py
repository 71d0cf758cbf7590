"""Jobs on a device that is not the CPU, seen without a GPU: see elsewhere.py for what is played and what is not. What
is computed there is bit for bit what is computed here."""

import contextlib
import inspect
import json

import pandas as pd
import pytest

from aevb import jobs, recording, stack, trees
from aevb.engine import Captured
from aevb.experiments import CERTIFIED, CertificationJob, CheckJob, EvidenceTask, ExactJob, Job, Search
from aevb.jobs import certify, check, compute, evidence, gradients, represent
from aevb.ppca import PPCA
from elsewhere import ELSEWHERE, present
from helpers import CELL, CPU, CUDA
from test_jobs import SETTINGS, evidence_job, gradient_job, table_of_step_sizes


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    compute.prepare_data("digits", path.parent, path)
    represent.prepare_labels("digits", path, path.parent, path.with_name("digits_labels.npz"))
    return path


JOB = Job(cell=CELL, seeds=(0, 1), samples=10_000, snapshots=(10_000,))
CERTIFY = CertificationJob(cell=CELL, seed=0, samples=10_000, points=5, settings=SETTINGS)
EXACT = ExactJob(n_latent=2, n_features=6, points=5, settings=SETTINGS)
CHECK = CheckJob(
    cell=CELL,
    samples=10_000,
    snapshots=(),
    evidence=EvidenceTask(name="elbo", settings=SETTINGS["elbo"], samples=(10_000,)),
    points=3,
    scale="smoke",
    reference_seeds=2,
    n_tests=1,
)
SEARCH = Search(cell=CELL, candidates=(0.01, 0.05), seeds=(1000,), samples=10_000)
# where, and in what time
OF_THE_MACHINE = ("device", "seconds", "samples_per_second", "seconds_per_point", "seconds_per_draw", "store")
WITHOUT = {"check"}  # it trains and estimates as `measure` does, and needs a blessed reference


def all_jobs(points, folder, **where):
    """Every job that is told a device; what each wrote, by its name."""
    folder.mkdir()
    stored, sizes = folder / "cells", table_of_step_sizes(folder)
    labels = [points.with_name("digits_labels.npz")]
    runs = [folder / f"seed{seed}" for seed in JOB.seeds]
    cells, weights = [run / "cell.json" for run in runs], [run / "weights.safetensors" for run in runs]
    tasks = evidence_job({CERTIFIED: (10_000,)}, points=3)  # certify has the others
    noise = gradient_job(moments=(0, 10_000), draws=4)
    called = {
        compute.step_size: (SEARCH, points, stored, folder / "search.csv"),
        compute.train: (JOB, points, sizes, stored, folder),
        evidence.evidence: (tasks, points, cells, folder / "evidence.csv"),
        gradients.gradients: (noise, points, cells[0], folder / "gradients.csv"),
        certify.certify_exact: (EXACT, folder / "exact.csv"),
        certify.certify_cell: (CERTIFY, points, cells[0], folder / "certified.csv"),
        represent.represent: (JOB, points, labels, weights, folder / "representation.csv"),
        represent.yardstick: ("digits", 200, points, labels, folder / "yardstick.csv"),
        check.measure: (CHECK, points, sizes, stored, folder / "measured.json"),
    }
    told = {name for name in jobs.NAMES if "device" in inspect.signature(jobs.load(name)).parameters}
    assert told - WITHOUT == {job.__name__.replace("_", "-") for job in called}
    for job, given in called.items():
        job(*given, **where)
    tables = {str(path.relative_to(folder)): pd.read_csv(path) for path in folder.glob("**/*.csv")}
    tables |= {path.parent.name: pd.DataFrame([json.loads(path.read_text())]) for path in cells}
    return tables | {"measured": pd.DataFrame(json.loads((folder / "measured.json").read_text()))}


@contextlib.contextmanager
def jobs_go(monkeypatch):
    """In here every job chooses the device elsewhere."""
    place = recording._place
    with monkeypatch.context() as patch, present():
        for job in (check, certify, compute, evidence, gradients, represent):
            patch.setattr(job, "choose_device", lambda name, threads: ELSEWHERE)
        patch.setattr(stack.engine, "build", Captured)
        patch.setattr(recording, "_place", lambda tensor: place(getattr(tensor, "here", tensor)))
        yield


def test_jobs_compute_elsewhere_what_they_compute_here(points, tmp_path, monkeypatch):
    here = all_jobs(points, tmp_path / "here", device="cpu", threads=1)
    with jobs_go(monkeypatch):
        there = all_jobs(points, tmp_path / "there", device="cuda", threads=1)
    for name in ("seed0", "measured"):
        assert (here[name]["device"].item(), there[name]["device"].item()) == ("cpu", "meta")
    assert here.keys() == there.keys()
    for name in here:
        found, expected = (
            one[name].drop(columns=[*OF_THE_MACHINE], errors="ignore") for one in (there, here)
        )
        pd.testing.assert_frame_equal(found, expected, check_exact=True, obj=name)


def test_a_run_says_on_which_devices_it_was_trained_wherever_it_is_asked_for(points, tmp_path, monkeypatch):
    sizes = table_of_step_sizes(tmp_path)

    def device(job, folder):
        compute.train(job, points, sizes, tmp_path / "cells", tmp_path / folder, device="cpu", threads=1)
        return json.loads((tmp_path / folder / "seed0/cell.json").read_text())["device"]

    assert device(JOB, "here") == "cpu"
    with jobs_go(monkeypatch):
        assert device(JOB, "found") == "cpu"
        further = JOB.model_copy(update={"samples": 20_000})
        assert device(further, "further") == "cpu+meta"


def test_a_job_that_keeps_to_the_host_is_seen(tmp_path, monkeypatch):
    best = PPCA.best_encoder
    monkeypatch.setattr(PPCA, "best_encoder", lambda model, theta: trees.to_device(best(model, theta), CPU))
    with jobs_go(monkeypatch), pytest.raises(AssertionError, match="tensors of both devices"):
        certify.certify_exact(EXACT, tmp_path / "exact.csv", device="cuda", threads=1)


@pytest.mark.parametrize("device", [CUDA])
def test_jobs_compute_on_a_gpu_all_that_they_compute_here(device, points, tmp_path):
    here, there = (all_jobs(points, tmp_path / name, device=name, threads=1) for name in ("cpu", device.type))
    assert here.keys() == there.keys()
    for name, expected in here.items():
        assert there[name].columns.tolist() == expected.columns.tolist()
        assert len(there[name]) == len(expected)  # other draws, other numbers
    assert there["seed0"]["device"].item() == "cuda"
