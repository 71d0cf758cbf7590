"""divergence.py and trace.py: a run that stops being numbers is noticed in its block, by its step and its tensor."""

import math

import pytest
import torch

from aevb import divergence, engine, stack, trees
from aevb.bounds import to_unit
from aevb.divergence import Fault
from aevb.engine import Captured, Engine, Minibatches, Recorded
from aevb.estimators import aevb, mcem
from aevb.models import BernoulliModel, Params
from aevb.optimisers import adagrad
from aevb.trace import Trace
from helpers import CPU, CUDA, equal, generator, scramble
from test_training import EXPLOSIVE, ONE, TWO, assert_same_run, rows, trainer

MODEL = BernoulliModel(6, 4, 2)
POINTS = torch.rand(40, 6, generator=generator(0))
SEEDS, STEPS, BLOCK = [7, 8, 9], 5, 3
FAULTY, AT = 1, 2  # the model of the stack that is poisoned, and the step of the block, from 0
BAD = [math.nan, math.inf, -math.inf]


# ------------------------------------------------------------------------------------------------- what is finite


def params(*shapes):
    return Params({f"w_{n}": torch.zeros(3, *shape) for n, shape in enumerate(shapes)}, {})


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", [(1, 0, 0), (1, 3, 4)])
def test_one_number_of_one_array_loses_its_model_and_no_other(bad, where):
    weights = params((4, 5), (1, 5))
    assert divergence.finite(weights, torch.zeros(3)) == [True] * 3
    weights.theta["w_0"][where] = bad
    assert divergence.finite(weights, torch.zeros(3)) == [True, False, True]


@pytest.mark.parametrize("bad", BAD)
def test_a_bound_counts_where_there_is_one(bad):
    bound = torch.tensor([0.0, 0.0, bad])
    assert divergence.finite(params((4, 5)), bound) == [True, True, False]
    assert divergence.finite(params((4, 5)), None) == [True, True, True]


def test_numbers_near_the_largest_are_finite():
    weights = params((4, 5))
    weights.theta["w_0"].fill_(torch.finfo(torch.float32).max)  # their sum would not be
    assert divergence.finite(weights, None) == [True] * 3


# ------------------------------------------------------------------------------- which tensor, of the step as written


def batches_of(build, poison, device=CPU):
    """A stack of three whose step number AT of a block, or its noise or data, is poisoned for model FAULTY."""
    estimator = build(MODEL, adagrad(torch.full((3,), 0.1, device=device), warm_up=0), len(POINTS))
    batches = Minibatches(estimator, POINTS.to(device), len(POINTS) if estimator.full_batch else 8)
    state = estimator.init(trees.to_device(trees.concatenate([start(m) for m in range(3)]), device))
    return (poison(batches) if poison else batches), state


def start(m):
    return scramble(trees.stack([MODEL.init(generator(m))]), 0.5, m)


class Counted:
    """Calls `change` on what the step number AT of each block returns."""

    def __init__(self, function, change):
        self.function, self.change, self.calls = function, change, 0

    def __call__(self, *arguments):
        result = self.function(*arguments)
        self.calls += 1
        return self.change(result) if (self.calls - 1) % STEPS == AT else result


def in_data(bad):
    class Poisoned(Minibatches):
        pass

    def poison(batches):
        poisoned = Poisoned(*batches)
        poisoned.x = Counted(batches.x, lambda x: at_model(x, bad))
        return poisoned

    return poison


def in_noise(bad):
    def poison(batches):
        # draw() is called for each of the three models in turn
        genuine, calls = batches.estimator.draw, iter(range(10**6))

        def draw(*arguments):
            noise, call = genuine(*arguments), next(calls)
            if call % (3 * STEPS) == 3 * AT + FAULTY:
                trees.leaves(noise)["eps"].view(-1)[-1] = bad
            return noise

        return batches._replace(estimator=batches.estimator._replace(draw=draw))

    return poison


def in_step(bad, name):
    def change(result):
        state, info = result
        if name in info._fields:
            return state, info._replace(**{name: at_model(getattr(info, name), bad)})
        named = trees.leaves(state)
        return trees.rebuild(state, named | {name: at_model(named[name], bad)}), info

    def poison(batches):
        step = Counted(batches.estimator.step, change)
        return batches._replace(estimator=batches.estimator._replace(step=step))

    return poison


def at_model(tensor, bad):
    tensor = tensor.clone()
    tensor[FAULTY].view(-1)[0] = bad
    return tensor


CASES = {
    "data x": in_data,
    "noise.eps": in_noise,
    "bound": lambda bad: in_step(bad, "bound"),
    "surrogate": lambda bad: in_step(bad, "surrogate"),
    "params.theta.w_out": lambda bad: in_step(bad, "params.theta.w_out"),
    "params.phi.b_h": lambda bad: in_step(bad, "params.phi.b_h"),
}


def located(build, poison, has_bound=True):
    batches, state = batches_of(build, poison)
    return divergence.locate(batches, state, SEEDS, STEPS, BLOCK, has_bound)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("tensor", CASES)
def test_a_fault_is_named_by_its_step_and_its_first_tensor(tensor, bad):
    fault = Fault(BLOCK * STEPS + AT + 1, tensor)
    assert located(aevb.build, CASES[tensor](bad)) == [None, fault, None]


def test_what_is_wrong_already_is_a_fault_of_the_step_before():
    batches, state = batches_of(aevb.build, None)
    state.optimiser.sums.phi["w_out"][FAULTY, 0, 0] = math.inf
    assert divergence.finite(state, None) == [True, False, True]
    faults = divergence.locate(batches, state, SEEDS, STEPS, BLOCK, True)
    assert faults == [None, Fault(BLOCK * STEPS, "optimiser.sums.phi.w_out"), None]


def test_a_sound_stack_has_no_fault_and_a_method_without_a_bound_is_not_faulted_for_it():
    assert located(aevb.build, None) == [None] * 3
    assert located(mcem.build, None, has_bound=False) == [None] * 3
    assert (
        located(mcem.build, None, has_bound=True) == [Fault(BLOCK * STEPS + 1, "bound")] * 3
    )  # NaN by design


def test_a_gradient_that_is_not_finite_is_named_by_the_first_weights_it_spoils(monkeypatch):
    """The surrogate is finite, its derivative not: sqrt at zero."""

    def spoiled(model, params, x, eps):
        root = params.phi["b_out"].mul(0).sum((1, 2)).sqrt()[:, None]
        return genuine(model, params, x, eps) + root

    genuine = aevb.elbo
    monkeypatch.setattr(aevb, "elbo", spoiled)
    first = Fault(BLOCK * STEPS + 1, "params.phi.b_out")
    assert located(aevb.build, None) == [first] * 3


# -------------------------------------------------------------------------------------------------- of whole runs


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_run_is_marked_in_the_block_that_loses_it_however_far_the_next_report(
    tmp_path, monkeypatch, blocks
):
    """Between two report points, 10 000 apart at the least: the mark does not wait for the second."""
    poison_block(monkeypatch, number=31 + blocks, step=7)
    well, ill = trainer(tmp_path / "a").train([ONE, TWO], 400_000)
    monkeypatch.undo()
    reference, _ = trainer(tmp_path / "b").train([ONE, TWO], 400_000)
    trace = ill.trace
    assert (trace.diverged_at, trace.diverged_step) == ((32 + blocks) * 10_000, (31 + blocks) * 100 + 8)
    assert trace.diverged_tensor == "noise.eps"
    finite = [row["samples"] for row in trace.rows if math.isfinite(row["bound"])]
    assert max(finite) == 320_000
    assert [row["samples"] for row in rows(ill)] == [row["samples"] for row in rows(well)]
    assert_same_run(well, reference)


def poison_block(monkeypatch, number, step):
    """NaN in the noise of the second run, in one step of one block, in the engine and where the fault is located."""

    def drawn(self):
        x, noise = genuine(self)
        if self.block == number and next(self.calls) == step:
            noise.eps[1, 0, 0, 0] = math.nan
        return x, noise

    def restart(self, block):
        begin(self, block)
        self.block, self.calls = block, iter(range(10**6))

    genuine, begin = Engine._draw, Engine.restart
    monkeypatch.setattr(Engine, "restart", restart)
    monkeypatch.setattr(Engine, "_draw", drawn)
    monkeypatch.setattr(Engine, "block", -1, raising=False)


def test_a_stack_that_is_lost_altogether_stops_at_the_end_of_that_block(tmp_path, monkeypatch):
    before = trainer(tmp_path, warm_up=0).train([ONE], 320_000, snapshots=(100_000,))[0]
    passed = {point: before.store.load_weights(point) for point in (100_000, 320_000)}
    run = trainer(tmp_path, warm_up=0)
    monkeypatch.setattr(stack, "to_unit", lambda points, scale: to_unit(points, math.nan))
    lost = run.train([ONE], 1_000_000, snapshots=(100_000, 320_000))[0]
    assert (lost.trace.diverged_at, lost.trace.samples) == (330_000, 330_000)
    assert (lost.trace.diverged_step, lost.trace.diverged_tensor) == (3201, "data x")
    assert math.isnan(lost.trace.rows[-1]["bound"])
    assert lost.store.load_weights(1_000_000) is not None  # what is left of it, for its job to show
    for point, weights in passed.items():  # and what it had been
        assert equal(lost.store.load_weights(point).tensors, weights.tensors)
    assert lost.trace.lost_by(330_000)
    assert not lost.trace.lost_by(320_000)


def test_an_exploding_step_size_names_what_it_breaks_first(tmp_path):
    trace = trainer(tmp_path, warm_up=0).train([EXPLOSIVE], 100_000)[0].trace
    assert trace.diverged_at == 10_000
    assert 1 <= trace.diverged_step <= 100
    assert trace.diverged_tensor.startswith("params.theta.")


def test_a_later_mark_does_not_replace_the_first():
    trace = Trace(step=3, samples=300)
    trace.diverge(Fault(2, "bound"))
    trace.add_block(1, 100, 1.0, 1, math.nan, math.nan)
    trace.diverge(Fault(4, "surrogate"))
    assert (trace.diverged_at, trace.diverged_step, trace.diverged_tensor) == (300, 2, "bound")


def test_a_bound_that_is_not_finite_at_a_report_is_a_divergence_and_no_bound_follows():
    trace = Trace(step=3, samples=300)
    trace.report({"train": -1.0, "test": math.inf})
    trace.report({"train": -1.0, "test": -1.0})
    assert (trace.diverged_at, trace.diverged_step, trace.diverged_tensor) == (300, 3, "bound on test")
    assert all(math.isnan(row["bound"]) for row in trace.rows)


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_the_engine_of_the_device_loses_the_same_model_as_the_step_as_written(device):
    """An encoder's variance that overflows: found in the block by the engine, and in the step by its replay."""

    def poisoned():
        batches, state = batches_of(aevb.build, None, device)
        state.params.phi["b_out"][FAULTY] = (
            1e3  # log-variance, whose exponential is infinite in single precision
        )
        return batches, state

    batches, state = poisoned()
    kind = Captured if device.type == "cuda" else Recorded
    fast = kind(batches, state, SEEDS, STEPS)
    info = fast.train_block(0)
    assert divergence.finite(fast.state.params, info.bound) == [True, False, True]
    faults = divergence.locate(*poisoned(), SEEDS, STEPS, 0, True)
    assert faults == [None, Fault(1, "bound"), None]
    assert isinstance(engine.build(*poisoned(), SEEDS, STEPS), kind)
