"""Training and jobs on a device that is not the CPU, seen without a GPU: see elsewhere.py for what is played and what
is not. What is computed there is bit for bit what is computed here, and a captured block needs nothing of the host.

Not seen: torch's own generators and memory inside a real graph.
"""

import contextlib
import inspect
import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

from aevb import UserError, engine, estimators, jobs, optimisers, provenance, recording, training, trees
from aevb.engine import Captured, Engine
from aevb.estimators import mcem
from aevb.experiments import CERTIFIED, CertificationJob, CheckJob, EvidenceTask, ExactJob, Job, Search
from aevb.jobs import certify, check, compute, evidence, gradients, represent
from aevb.optimisers import adagrad
from aevb.ppca import PPCA
from elsewhere import ELSEWHERE, present
from helpers import CELL, CPU, CUDA, equal, generator, rejects
from test_engine import MODELS, STACKS, draws, engine_of, history, looks, reads, wrapped
from test_jobs import SETTINGS, evidence_job, gradient_job, table_of_step_sizes

every_estimator = pytest.mark.parametrize("name", provenance.estimators())


BLOCKS = range(3)


def brought_home(tree):
    return trees.to_device(tree, CPU)


def captured(build, model, steps, kind=Captured):
    """What each block of a captured stack says and leaves behind."""
    with present():
        seen = history(engine_of(kind, build, model, steps, ELSEWHERE), BLOCKS)
        return {block: {name: brought_home(tree) for name, tree in seen[block].items()} for block in seen}


def as_written(build, model, steps):
    return history(engine_of(Engine, build, model, steps), BLOCKS)


# ----------------------------------------------------------------------------------------------- captured blocks


@every_estimator
def test_a_captured_block_trains_what_the_step_trains_bit_for_bit(name):
    given = estimators.load(name), MODELS["gaussian"], STACKS["different steps"]
    assert equal(captured(*given), as_written(*given))


@pytest.mark.parametrize("steps", STACKS.values(), ids=STACKS.keys())
def test_of_a_bernoulli_decoder_and_every_stack(steps):
    given = estimators.load("aevb"), MODELS["bernoulli"], steps
    assert equal(captured(*given), as_written(*given))


def altered(module, old, new):
    """The module with a part of its source changed."""
    text = Path(module.__file__).read_text()
    assert text.count(old) == 1
    found = ModuleType("altered")
    exec(compile(text.replace(old, new), "altered", "exec"), vars(found))
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kept[name].copy_(new)", "pass"),  # every block begins where the first did
        ("state, self.state = self.state, trees.copy(self.state)", "state = self.state"),  # warming up trains
        ("self._graph.register_generator_state(generator)", "pass"),
        ('restart(noise, seed, "noise", block)', 'restart(noise, seed, "noise", 0)'),
        ('restart(points, seed, "batches", block)', "pass"),
    ],
)
def test_an_engine_that_captures_wrongly_is_seen(old, new):
    given = estimators.load("aevb"), MODELS["bernoulli"], [0.02, 0.1]

    def check(kind):
        try:
            seen = captured(*given, kind)
        except UserError as error:
            raise AssertionError from error
        assert equal(seen, as_written(*given))

    rejects(check, altered(engine, old, new).Captured)


OF_THE_HOST = torch.ones(())


def by_truth(step, state, x, noise):
    return step(state, torch.where(x > x[x > 0.5].mean(), 1.0, x), noise)


def makes_its_own(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.zeros(noise.eps.shape)))


def sends_it_there(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps * OF_THE_HOST.to(x.device)))


def fills_it_there(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.empty_like(x[0, 0, 0]).copy_(OF_THE_HOST)))


def writes_it_there(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.tensor([0.5], device=x.device)))


def stacks_its_own(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps * torch.stack([x[0, 0, 0], OF_THE_HOST])))


def chooses_by_its_own(step, state, x, noise):
    return step(state, x[:, torch.arange(x.shape[1])], noise)


def solves(step, state, x, noise):
    return step(state, x @ torch.linalg.inv(torch.eye(x.shape[-1], device=x.device)), noise)


def answers_from_the_host(step, state, x, noise):
    state, info = step(state, x, noise)
    return state, info._replace(bound=torch.zeros(info.bound.shape))


BOTH, READS, COPIES = "tensors of both devices", "reads values", "copies to or from the host"
WRONG = {
    makes_its_own: BOTH,
    stacks_its_own: BOTH,
    chooses_by_its_own: BOTH,
    reads: READS,
    looks: READS,
    by_truth: READS,
    solves: READS,
    sends_it_there: COPIES,
    fills_it_there: COPIES,
    writes_it_there: COPIES,
    answers_from_the_host: "computes on the host",
    draws: "draws from a generator that is not registered",
}


@pytest.mark.parametrize(("around", "refusal"), WRONG.items())
def test_a_step_that_needs_the_host_is_seen(around, refusal):
    with pytest.raises((AssertionError, UserError), match=refusal):  # warming up, or in the capture
        captured(wrapped(around), MODELS["bernoulli"], [0.1])


def test_a_step_that_breaks_a_capture_is_reported_to_its_author():
    with pytest.raises(UserError, match=r"cannot be captured.*reads values.*estimators/__init__"):
        captured(wrapped(reads), MODELS["bernoulli"], [0.1])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.zeros((), device=step_size.device)", "torch.zeros(())"),
        ("rate = step_size[models][:1] *", "rate = torch.full((1,), 0.1) *"),
    ],
)
def test_an_optimiser_that_leaves_something_on_the_host_is_seen(old, new):
    def build(model, optimiser, n_train):
        rates = torch.tensor([0.1], device=ELSEWHERE)
        return estimators.load("aevb")(
            model, altered(optimisers, old, new).adagrad(rates, warm_up=3), n_train
        )

    with pytest.raises(AssertionError, match=BOTH):
        captured(build, MODELS["bernoulli"], [0.1])


def test_a_draw_from_the_hosts_generator_is_seen():
    inner = estimators.load("aevb")

    def build(model, optimiser, n_train):
        found = inner(model, optimiser, n_train)
        return found._replace(draw=lambda given, rows: found.draw(generator(0), rows))

    with pytest.raises(AssertionError, match=BOTH):
        captured(build, MODELS["bernoulli"], [0.1])


def test_monte_carlo_em_with_its_rows_on_the_host_is_seen():
    wrong = altered(mcem, "torch.arange(n_train, device=x.device)", "torch.arange(n_train)")
    with pytest.raises(AssertionError, match=BOTH):
        captured(wrong.build, MODELS["bernoulli"], [0.1])


def test_gradients_laid_out_as_no_gpu_takes_them_are_seen():
    """Torch's kernel for Adagrad refuses on a GPU what it takes on a CPU."""
    step_size = torch.tensor([0.1])
    with present():
        ours = adagrad(step_size.to(ELSEWHERE))
        params = MODELS["bernoulli"].init(torch.Generator(ELSEWHERE))
        params = trees.stack([params])
        state = ours.init(params)
        state.sums.theta["w_h"] = state.sums.theta["w_h"].mT.contiguous().mT
        with pytest.raises(AssertionError, match="not contiguous"):
            ours.ascend(state, params, trees.copy(params), 0.0)


# ---------------------------------------------------------------------------------------------------------- jobs


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
SEARCH = Search(cell=CELL, candidates=(0.01, 0.05), seed=1000, samples=10_000)
# where, and in what time
OF_THE_MACHINE = ("device", "seconds", "samples_per_second", "seconds_per_point", "seconds_per_draw", "store")
WITHOUT = {"check"}  # it trains and estimates as `measure` does, and needs a blessed reference


def all_jobs(points, folder, **where):
    """Every job that is told a device; what each wrote, by its name."""
    folder.mkdir()
    stored, sizes, labels = (
        folder / "cells",
        table_of_step_sizes(folder),
        [points.with_name("digits_labels.npz")],
    )
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
        patch.setattr(training.engine, "build", Captured)
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
        compute.train(job, points, sizes, tmp_path / "cells", tmp_path / folder, device="auto", threads=1)
        return json.loads((tmp_path / folder / "seed0/cell.json").read_text())["device"]

    assert device(JOB, "here") == "cpu"
    with jobs_go(monkeypatch):
        assert device(JOB, "found") == "cpu"
        further = JOB.model_copy(update={"samples": 20_000})
        assert device(further, "further") == "cpu+meta"


def test_a_job_that_keeps_to_the_host_is_seen(tmp_path, monkeypatch):
    best = PPCA.best_encoder
    monkeypatch.setattr(PPCA, "best_encoder", lambda model, theta: brought_home(best(model, theta)))
    with jobs_go(monkeypatch), pytest.raises(AssertionError, match=BOTH):
        certify.certify_exact(EXACT, tmp_path / "exact.csv", device="cuda", threads=1)


@pytest.mark.parametrize("device", [CUDA])
def test_jobs_compute_on_a_gpu_all_that_they_compute_here(device, points, tmp_path):
    here, there = (all_jobs(points, tmp_path / name, device=name, threads=1) for name in ("cpu", device.type))
    assert here.keys() == there.keys()
    for name, expected in here.items():
        pd.testing.assert_frame_equal(there[name].isna(), expected.isna(), obj=name)
    assert there["seed0"]["device"].item() == "cuda"
