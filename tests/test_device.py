"""Captured blocks of training steps, seen without a GPU: see elsewhere.py for what is played and what is not. They
train bit for bit what the step trains here, and need nothing of the host.

Not seen: torch's own generators and memory inside a real graph.
"""

from pathlib import Path
from types import ModuleType

import pytest
import torch

from aevb import UserError, algorithms, engine, estimators, optimisers, training, trees
from aevb.engine import Captured, Engine
from aevb.estimators import mcem
from aevb.optimisers import adagrad
from aevb.streams import stream
from elsewhere import ELSEWHERE, Presence, present
from helpers import CPU, equal, generator, rejects
from test_engine import MODELS, STACKS, draws, engine_of, history, looks, reads, wrapped

every_estimator = pytest.mark.parametrize("name", algorithms.estimators())
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


@every_estimator
def test_a_captured_block_trains_what_the_step_trains_bit_for_bit(name):
    given = estimators.load(name), MODELS["gaussian"], STACKS["different steps"]
    assert equal(captured(*given), as_written(*given))


@pytest.mark.parametrize("steps", STACKS.values(), ids=STACKS.keys())
def test_so_does_a_block_of_every_stack_with_a_bernoulli_decoder(steps):
    given = estimators.load("aevb"), MODELS["bernoulli"], steps
    assert equal(captured(*given), as_written(*given))


def altered(module, old, new):
    """The module with a part of its source changed."""
    text = Path(module.__file__).read_text()
    assert text.count(old) == 1
    found = ModuleType("altered")
    exec(compile(text.replace(old, new), "altered", "exec"), vars(found))
    return found


def check_capture(kind):
    given = estimators.load("aevb"), MODELS["bernoulli"], [0.02, 0.1]
    try:
        seen = captured(*given, kind)
    except UserError as error:
        raise AssertionError from error
    assert equal(seen, as_written(*given))


def test_the_engine_made_from_its_source_captures_rightly():
    check_capture(altered(engine, "kept[name].copy_(new)", "kept[name].copy_(new)").Captured)


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
    rejects(check_capture, altered(engine, old, new).Captured)


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


FULL = [  # of torch's allocator, of the driver, of cuBLAS
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", FULL, ids=["allocator", "driver", "cublas"])
@pytest.mark.parametrize("when", ["warming up", "in the capture"])
def test_too_little_memory_is_not_taken_for_the_authors_fault(when, error):
    def full(step, state, x, noise):
        if (Presence.capture is None) == (when == "warming up"):
            raise error
        return step(state, x, noise)

    with pytest.raises(UserError, match=r"1 models at once does not fit into the GPU's memory.*fewer seeds"):
        captured(wrapped(full), MODELS["bernoulli"], [0.1], engine.build)


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
    with present():
        ours = adagrad(torch.tensor([0.1], device=ELSEWHERE))
        params = trees.stack([MODELS["bernoulli"].init(torch.Generator(ELSEWHERE))])
        state = ours.init(params)
        state.sums.theta["w_h"] = state.sums.theta["w_h"].mT.contiguous().mT
        with pytest.raises(AssertionError, match="not contiguous"):
            ours.ascend(state, params, trees.copy(params), 0.0)


def test_initial_weights_are_drawn_on_the_cpu_wherever_a_run_computes(monkeypatch):
    """The played GPU draws what a CPU does, a real one does not: asked is where the stream is."""
    asked = []

    def noted(device, *key):
        asked.append(device.type)
        return stream(device, *key)

    monkeypatch.setattr(training, "stream", noted)
    with present():
        there = brought_home(training.initial_weights(MODELS["bernoulli"], 3, ELSEWHERE))
    assert asked == ["cpu"]
    assert equal(there, training.initial_weights(MODELS["bernoulli"], 3, CPU))
