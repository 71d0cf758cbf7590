"""Training and jobs on a device that is not the CPU, seen without a GPU: see elsewhere.py for what is played and what
is not. What is computed there is bit for bit what is computed here, and a captured block needs nothing of the host.

Not seen: how `record` knows a GPU's tensors by their memory, and torch's generators inside a real graph.
"""

import contextlib
import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

from aevb import engine, estimators, provenance, training, trees
from aevb.engine import Captured, Engine
from aevb.estimators import mcem
from aevb.evidence import recorded
from aevb.experiments import CERTIFIED, CertificationJob, CheckJob, EvidenceTask, ExactJob, Job, Search
from aevb.jobs import certify, check, compute, evidence, gradients, represent
from aevb.optimisers import adagrad
from aevb.ppca import PPCA
from elsewhere import ELSEWHERE, present
from helpers import CELL, CPU, equal, generator, rejects
from test_engine import MODELS, STACKS, engine_of, history, wrapped
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


def changed(old, new):
    """`Captured` with a line of the engine's source changed."""
    text = Path(engine.__file__).read_text()
    assert old in text
    module = ModuleType("changed")
    exec(compile(text.replace(old, new), "changed", "exec"), vars(module))
    return module.Captured


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
        assert equal(captured(*given, kind), as_written(*given))

    check(changed("kept[name].copy_(new)", "kept[name].copy_(new)"))
    rejects(check, changed(old, new))


def reads(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps * x.mean().item()))


def looks(step, state, x, noise):
    return step(state, x if x.mean() < 0.5 else 1 - x, noise)


def chooses_by_truth(step, state, x, noise):
    return step(state, torch.where(x > x[x > 0.5].mean(), 1.0, x), noise)


def makes_its_own(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.zeros(noise.eps.shape)))


def sends_it_there(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.zeros(noise.eps.shape).to(x.device)))


def writes_it_there(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps + torch.tensor([0.5], device=x.device)))


def chooses_by_its_own(step, state, x, noise):
    return step(state, x[:, torch.arange(x.shape[1])], noise)


def multiplies_by_its_own(step, state, x, noise):
    return step(state, x @ torch.eye(x.shape[-1]), noise)


def answers_from_the_host(step, state, x, noise):
    state, info = step(state, x, noise)
    return state, info._replace(bound=torch.zeros(info.bound.shape))


def draws(step, state, x, noise):
    return step(state, x, noise._replace(eps=torch.randn_like(noise.eps)))


@pytest.mark.parametrize(
    "around",
    [
        reads,
        looks,
        chooses_by_truth,
        makes_its_own,
        sends_it_there,
        writes_it_there,
        chooses_by_its_own,
        multiplies_by_its_own,
        answers_from_the_host,
        draws,
    ],
)
def test_a_step_that_needs_the_host_is_seen(around):
    with pytest.raises(AssertionError, match=r"captured block|both devices|draws"):
        captured(wrapped(around), MODELS["bernoulli"], [0.1])


def test_a_rate_on_the_host_is_seen():
    def build(model, optimiser, n_train):
        return estimators.load("aevb")(model, adagrad(torch.tensor([0.1]), warm_up=3), n_train)

    with pytest.raises(AssertionError, match="both devices"):
        captured(build, MODELS["bernoulli"], [0.1])


def test_a_draw_from_the_hosts_generator_is_seen():
    inner = estimators.load("aevb")

    def build(model, optimiser, n_train):
        found = inner(model, optimiser, n_train)
        return found._replace(draw=lambda given, rows: found.draw(generator(0), rows))

    with pytest.raises(AssertionError, match="both devices"):
        captured(build, MODELS["bernoulli"], [0.1])


def test_monte_carlo_em_with_its_rows_on_the_host_is_seen(tmp_path):
    text = Path(mcem.__file__).read_text()
    wrong = text.replace("torch.arange(n_train, device=x.device)", "torch.arange(n_train)")
    assert wrong != text
    (tmp_path / "mcem.py").write_text(wrong)
    with pytest.raises(AssertionError, match="both devices"):
        captured(estimators.load("mcem", str(tmp_path / "mcem.py")), MODELS["bernoulli"], [0.1])


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


def all_jobs(points, folder, **where):
    """Every job that is told a device; what each wrote, by its name."""
    folder.mkdir()
    stored, sizes, labels = (
        folder / "cells",
        table_of_step_sizes(folder),
        [points.with_name("digits_labels.npz")],
    )
    compute.step_size(SEARCH, points, stored, folder / "search.csv", **where)
    compute.train(JOB, points, sizes, stored, folder, **where)
    runs = [folder / f"seed{seed}" for seed in JOB.seeds]
    cells, weights = [run / "cell.json" for run in runs], [run / "weights.safetensors" for run in runs]
    tasks = evidence_job({CERTIFIED: (10_000,)}, points=3)  # certify has the others
    evidence.evidence(tasks, points, cells, folder / "evidence.csv", **where)
    noise = gradient_job(moments=(0, 10_000), draws=4)
    gradients.gradients(noise, points, cells[0], folder / "gradients.csv", **where)
    certify.certify_exact(EXACT, folder / "exact.csv", **where)
    certify.certify_cell(CERTIFY, points, cells[0], folder / "certified.csv", **where)
    represent.represent(JOB, points, labels, weights, folder / "representation.csv", **where)
    represent.yardstick("digits", 200, points, labels, folder / "yardstick.csv", **where)
    check.measure(CHECK, points, sizes, stored, folder / "measured.json", **where)
    tables = {str(path.relative_to(folder)): pd.read_csv(path) for path in folder.glob("**/*.csv")}
    tables |= {path.parent.name: pd.DataFrame([json.loads(path.read_text())]) for path in cells}
    tables["measured"] = pd.DataFrame(json.loads((folder / "measured.json").read_text()))
    return {name: table.drop(columns=[*OF_THE_MACHINE], errors="ignore") for name, table in tables.items()}


@contextlib.contextmanager
def jobs_go(monkeypatch):
    """In here every job chooses the device elsewhere."""
    with monkeypatch.context() as patch, present():
        for job in (check, certify, compute, evidence, gradients, represent):
            patch.setattr(job, "choose_device", lambda name, threads: ELSEWHERE)
        patch.setattr(training.engine, "build", Captured)
        patch.setattr(
            recorded, "record", lambda function, inputs: function
        )  # it looks at memory, which is here
        yield


def test_jobs_compute_elsewhere_what_they_compute_here(points, tmp_path, monkeypatch):
    here = all_jobs(points, tmp_path / "here", device="cpu", threads=1)
    with jobs_go(monkeypatch):
        there = all_jobs(points, tmp_path / "there", device="cuda", threads=1)
    assert here.keys() == there.keys()
    for name, table in here.items():
        pd.testing.assert_frame_equal(there[name], table, check_exact=True, obj=name)


def test_a_job_that_keeps_to_the_host_is_seen(tmp_path, monkeypatch):
    best = PPCA.best_encoder
    monkeypatch.setattr(PPCA, "best_encoder", lambda model, theta: brought_home(best(model, theta)))
    with jobs_go(monkeypatch), pytest.raises(AssertionError, match="both devices"):
        certify.certify_exact(EXACT, tmp_path / "exact.csv", device="cuda", threads=1)
