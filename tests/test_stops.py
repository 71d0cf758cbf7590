"""Training that is stopped on request, or killed between the saves of a stack's runs, and goes on."""

import os
import signal
import subprocess
import sys

import pytest

from aevb import data, jobs, stack
from aevb.__main__ import main
from aevb.experiments import Job, canonical
from aevb.interrupts import Interrupted
from aevb.store import RunStore
from helpers import two_kinds
from test_training import ONE, TWO, assert_same_run, trainer


@pytest.fixture
def every_block_is_saved(monkeypatch):
    monkeypatch.setattr(stack, "CHECKPOINT_SECONDS", 0)


@pytest.fixture
def stacks(monkeypatch):
    """The seeds and first step of each stack that trains."""
    seen = []
    genuine = stack.Stack.advance

    def advance(stack, *args):
        seen.append((tuple(run.member.seed for run in stack.runs), stack.runs[0].trace.step))
        return genuine(stack, *args)

    monkeypatch.setattr(stack.Stack, "advance", advance)
    return seen


def step_back(store):
    """Leave the run as a kill does that comes before its save and after another's."""
    newest = store.folder / "checkpoint.safetensors"
    newest.unlink()
    previous = store.folder / "checkpoint.previous.safetensors"
    if previous.exists():
        previous.rename(newest)


@pytest.mark.parametrize("name", ["aevb", "mcem"])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.usefixtures("every_block_is_saved")
def test_a_kill_between_the_saves_of_a_stack_does_not_part_its_runs(tmp_path, stacks, name, blocks):
    members = [ONE, TWO]
    whole = trainer(tmp_path / "whole", name).train(members, 50_000, (10_000 * blocks,))
    caught = trainer(tmp_path / "caught", name).train(members, 10_000 * blocks)
    step_back(caught[1].store)
    stacks.clear()
    resumed = trainer(tmp_path / "caught", name).train(members, 50_000)
    assert [seeds for seeds, _ in stacks] == [(0, 1)]
    for a, b in zip(whole, resumed, strict=True):
        assert_same_run(a, b)


@pytest.mark.usefixtures("every_block_is_saved")
def test_a_second_kill_between_saves_finds_a_common_step_again(tmp_path, stacks):
    members = [ONE, TWO]
    whole = trainer(tmp_path / "whole").train(members, 60_000, (30_000,))
    first, second = trainer(tmp_path / "caught").train(members, 30_000)  # steps 300 and 300, before: 200
    step_back(second.store)  # 300 and 200
    again = trainer(tmp_path / "caught")
    genuine = RunStore.save_checkpoint

    def dies_after_the_first_save(store, record):
        genuine(store, record)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunStore, "save_checkpoint", dies_after_the_first_save)
        with pytest.raises(KeyboardInterrupt):
            again.train(members, 60_000)
    assert [run.load_checkpoint().meta["step"] for run in (first.store, second.store)] == [300, 200]
    stacks.clear()
    resumed = again.train(members, 60_000)
    assert stacks == [((0, 1), 200)]
    for a, b in zip(whole, resumed, strict=True):
        assert_same_run(a, b)


@pytest.mark.usefixtures("every_block_is_saved")
def test_an_added_seed_does_not_send_a_finished_one_back(tmp_path, stacks):
    trainer(tmp_path).train([ONE], 10_000)  # one checkpoint, and none before it
    stacks.clear()
    trainer(tmp_path).train([ONE, TWO], 10_000)
    assert sorted(stacks) == [((0,), 100), ((1,), 0)]


@pytest.mark.usefixtures("every_block_is_saved")
def test_a_run_whose_previous_checkpoint_is_gone_goes_on_from_the_newest(tmp_path, stacks):
    first, second = trainer(tmp_path).train([ONE, TWO], 30_000)
    step_back(second.store)
    (first.store.folder / "checkpoint.previous.safetensors").write_bytes(b"")
    stacks.clear()
    runs = trainer(tmp_path).train([ONE, TWO], 40_000)
    assert stacks == [((1,), 200), ((0,), 300)]
    assert [run.trace.samples for run in runs] == [40_000, 40_000]


# --------------------------------------------------------------------------------------------------- on request


@pytest.fixture
def heard():
    """SIGINT as at a terminal: a shell's background hands it down ignored, and then training leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stopping(after: int, number: int):
    """A progress callback that sends this process a signal after so many blocks."""
    blocks = []

    def tell(traces):
        blocks.append(traces[0].samples)
        if len(blocks) == after:
            os.kill(os.getpid(), number)

    return tell


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["aevb", "wake_sleep", "mcem"])
@pytest.mark.usefixtures("heard")
def test_training_stops_at_the_end_of_a_block_saved_and_goes_on_as_if_it_never_had(tmp_path, name, number):
    whole = trainer(tmp_path / "whole", name).train([ONE, TWO], 50_000, (20_000,))
    stopped = trainer(tmp_path / "stopped", name)
    with pytest.raises(Interrupted) as interruption:
        stopped.train([ONE, TWO], 50_000, (20_000,), stopping(3, number))
    assert interruption.value.signal == number
    for member in (ONE, TWO):
        assert 0 < stopped.open(member).load_checkpoint().meta["samples"] < 50_000
    resumed = trainer(tmp_path / "stopped", name).train([ONE, TWO], 50_000, (20_000,))
    for a, b in zip(whole, resumed, strict=True):
        assert_same_run(a, b)


def test_a_signal_in_the_last_block_loses_nothing(tmp_path):
    with pytest.raises(Interrupted):
        trainer(tmp_path).train([ONE], 10_000, progress=stopping(1, signal.SIGTERM))
    run = trainer(tmp_path).train([ONE], 10_000)[0]
    assert run.trace.samples == 10_000


def test_a_signal_while_finished_runs_are_loaded_stops_the_job_too(tmp_path, monkeypatch):
    trainer(tmp_path).train([ONE], 10_000)
    genuine = RunStore.load_checkpoint

    def load(store):
        os.kill(os.getpid(), signal.SIGTERM)
        return genuine(store)

    monkeypatch.setattr(RunStore, "load_checkpoint", load)
    with pytest.raises(Interrupted):
        trainer(tmp_path).train([ONE], 10_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_job_ends_with_the_status_of_its_signal_and_one_line(monkeypatch, capsys, number):
    def stopped() -> None:
        raise Interrupted(number)

    monkeypatch.setattr(jobs, "load", lambda name: stopped)
    assert main(["prepare-data"]) == 128 + number
    assert capsys.readouterr().err.count("\n") == 1


def test_sigterm_to_the_training_command_saves_and_leaves_with_its_status(tmp_path):
    points, step_sizes = tmp_path / "digits.npz", tmp_path / "step_sizes.csv"
    data.save(two_kinds(), points)
    step_sizes.write_text("step_size,chosen\n0.1,True\n")
    cell = trainer(tmp_path).cell
    job = canonical(Job(cell=cell, seeds=(0,), samples=100_000_000))
    where = ["--store-root", tmp_path / "cells", "--output", tmp_path / "run"]
    how = ["--device", "cpu", "--threads", "1"]
    command = [sys.executable, "-m", "aevb", "train", "--job", job, "--points", points]
    command += ["--step-sizes", step_sizes, *where, *how]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "10,000 of 100,000,000 samples" in process.stderr.readline()
        process.terminate()
        last = process.stderr.readlines()[-1]
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM" in last
    (checkpoint,) = (tmp_path / "cells").glob("*/seed0/checkpoint.safetensors")
    saved = RunStore(checkpoint.parent).load_checkpoint()
    assert saved is not None
    assert saved.meta["samples"] >= 10_000
