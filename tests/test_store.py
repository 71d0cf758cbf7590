"""store.py: what is on the disk is whole, or the file before it, or a refusal by name."""

import errno
import math
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from aevb import UserError, store
from aevb.store import Record, RunStore, run_digest
from helpers import equal

NEWEST, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


def record(step: int) -> Record:
    tensors = {
        "params.w": torch.full((1, 3), step / 7),
        "seen": torch.tensor([step]),
        "empty": torch.zeros(1, 0),
    }
    return Record(tensors, {"step": step, "bound": -1 / 3, "nan": math.nan, "rows": [{"split": "train"}]})


def same(a: Record | None, b: Record) -> bool:
    return a is not None and equal(a.tensors, b.tensors) and repr(a.meta) == repr(b.meta)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # in the tensors: safetensors itself does not notice
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-4])


def empty(path):
    path.write_bytes(b"")


def rubbish(path):
    path.write_bytes(b"<html>not found</html>" * 20)


def lose_digest(path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)


def wrong_digest(path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"meta": "{}", "digest": "0" * 64})


damages = pytest.mark.parametrize(
    "damage", [flip_a_byte, truncate, empty, rubbish, lose_digest, wrong_digest]
)


@pytest.fixture
def run(tmp_path):
    """A run with two generations of checkpoints, steps 1 and 2."""
    run = RunStore(tmp_path / "run")
    run.save_checkpoint(record(1))
    run.save_checkpoint(record(2))
    return run


def files(run):
    return sorted(path.name for path in run.folder.iterdir())


def test_a_run_that_has_not_begun_has_nothing(tmp_path):
    assert RunStore(tmp_path).load_checkpoint() is None
    assert RunStore(tmp_path).load_weights(100) is None


def test_a_checkpoint_comes_back_bit_for_bit(run):
    assert same(run.load_checkpoint(), record(2))
    assert files(run) == [PREVIOUS, NEWEST]


@damages
def test_a_damaged_checkpoint_falls_back_to_the_one_before(run, damage):
    damage(run.folder / NEWEST)
    assert same(run.load_checkpoint(), record(1))


def test_a_missing_checkpoint_falls_back_to_the_one_before(run):
    (run.folder / NEWEST).unlink()  # as after a kill between the two moves
    assert same(run.load_checkpoint(), record(1))


@damages
def test_two_damaged_checkpoints_are_refused_by_name(run, damage):
    damage(run.folder / NEWEST)
    damage(run.folder / PREVIOUS)
    with pytest.raises(UserError) as refusal:
        run.load_checkpoint()
    assert str(run.folder / NEWEST) in str(refusal.value)
    assert str(run.folder / PREVIOUS) in str(refusal.value)


def test_the_only_checkpoint_damaged_is_refused_and_not_begun_anew(tmp_path):
    run = RunStore(tmp_path)
    run.save_checkpoint(record(1))
    truncate(tmp_path / NEWEST)
    with pytest.raises(UserError, match="checkpoint"):
        run.load_checkpoint()


@damages
def test_damaged_weights_are_refused_by_name(run, damage):
    run.save_weights(100, record(3))
    assert same(run.load_weights(100), record(3))
    damage(run.folder / "weights-100.safetensors")
    with pytest.raises(UserError, match=r"weights-100\.safetensors"):
        run.load_weights(100)


def test_a_checkpoint_under_a_changed_name_of_a_tensor_is_damaged(run):
    path = run.folder / NEWEST
    path.write_bytes(path.read_bytes().replace(b"params.w", b"params.v"))
    assert same(run.load_checkpoint(), record(1))


def test_changed_counters_are_damage_too(run):
    path = run.folder / NEWEST
    changed = path.read_bytes().replace(rb"\"step\": 2", rb"\"step\": 9")
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    assert same(run.load_checkpoint(), record(1))


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk(monkeypatch, where):
    """The disk is full when a file is opened, half-way into a write, or when it is flushed."""
    if where == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
        return
    genuine = open

    class Half:
        def __init__(self, handle):
            self.handle = handle

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.handle.close()

        def write(self, content):
            self.handle.write(content[: len(content) // 2])
            no_space()

    def opened(path, mode="r", *args, **kwargs):
        if "w" not in mode:
            return genuine(path, mode, *args, **kwargs)
        return no_space() if where == "open" else Half(genuine(path, mode, *args, **kwargs))

    monkeypatch.setattr(store, "open", opened, raising=False)


@pytest.mark.parametrize("where", ["open", "write", "fsync"])
def test_a_full_disk_leaves_the_checkpoints_as_they_were(run, monkeypatch, where):
    before = {name: (run.folder / name).read_bytes() for name in files(run)}
    with monkeypatch.context() as patch:
        full_disk(patch, where)
        with pytest.raises(UserError, match="No space left"):
            run.save_checkpoint(record(3))
        with pytest.raises(UserError, match="No space left"):
            run.save_weights(100, record(3))
    assert {name: (run.folder / name).read_bytes() for name in files(run)} == before
    run.save_checkpoint(record(3))
    assert same(run.load_checkpoint(), record(3))


def test_a_kill_at_any_moment_of_a_save_leaves_an_intact_checkpoint(run, monkeypatch):
    """A save is: write, flush, move, move, flush the folder. Before each of them the process dies."""

    class Killed(BaseException):
        pass

    calls = []

    def dying_at(n, genuine):
        def call(*args):
            calls.append(1)
            if len(calls) > n:
                raise Killed
            return genuine(*args)

        return call

    for n in range(4):
        calls.clear()
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, dying_at(n, getattr(os, name)))
            with pytest.raises(Killed):
                run.save_checkpoint(record(3))
        loaded = run.load_checkpoint()
        assert same(loaded, record(2)) or same(loaded, record(3))
        assert same(loaded, record(3)) == (n == 3)
        run.save_checkpoint(record(1))
        run.save_checkpoint(record(2))


def test_a_kill_after_a_fall_back_does_not_cost_the_intact_checkpoint(run, monkeypatch):
    """The newest is damaged, the run goes on from the one before and dies between the moves of its next save."""
    truncate(run.folder / NEWEST)
    assert same(run.load_checkpoint(), record(1))

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_move", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save_checkpoint(record(2))
    assert same(run.load_checkpoint(), record(1))


def test_exported_weights_come_back_and_are_refused_when_damaged_or_missing(tmp_path):
    path = tmp_path / "runs with spaces" / "wéights.safetensors"
    store.export_weights(path, record(5))
    assert same(store.read_weights(path), record(5))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    truncate(path)
    with pytest.raises(UserError, match="training"):
        store.read_weights(path)
    with pytest.raises(UserError, match="training"):
        store.read_weights(tmp_path / "none.safetensors")


def test_a_view_is_stored_as_what_it_shows(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    run = RunStore(tmp_path)
    run.save_checkpoint(Record({"a": whole.T, "b": whole[1:2], "c": whole[:1].expand(3, 4)}, {}))
    loaded = run.load_checkpoint()
    assert equal(loaded.tensors, {"a": whole.T, "b": whole[1:2], "c": whole[:1].expand(3, 4)})


def test_a_runs_address_depends_on_everything_and_on_no_order():
    one = run_digest(cell={"a": 1, "b": 2}, step_size=0.1)
    assert one == run_digest(step_size=0.1, cell={"b": 2, "a": 1})
    assert one != run_digest(cell={"a": 1, "b": 2}, step_size=0.2)
    assert one != run_digest(cell={"a": 1, "b": 3}, step_size=0.1)


def test_a_second_process_waits_for_the_lock(tmp_path):
    run = RunStore(tmp_path / "run")
    code = (
        "import sys, pathlib; from aevb.store import RunStore\n"
        "print('asks', flush=True)\n"
        "with RunStore(pathlib.Path(sys.argv[1])).lock(): print('holds', flush=True)"
    )
    with run.lock():
        command = [sys.executable, "-c", code, str(run.folder)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=0.5)
    assert other.communicate(timeout=60)[0] == "holds\n"
