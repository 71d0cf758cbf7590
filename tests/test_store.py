"""store.py: what is on the disk is whole, or the file before it, or a refusal by name."""

import errno
import fcntl
import math
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from aevb import UserError, store
from aevb.store import Record, RunStore, run_digest
from disks import file_limit, fill
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


def lose_meta(path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"record": "{}"})


def wrong_digest(path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"record": '{"meta": {}, "digest": "0"}'})


damages = pytest.mark.parametrize(
    "damage", [flip_a_byte, truncate, empty, rubbish, lose_digest, lose_meta, wrong_digest]
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


def unopened(*arguments, **settings):
    """What safetensors says when a file cannot be opened, whatever the reason."""
    raise FileNotFoundError("No such file or directory")


def a_folder_in_its_place(path, monkeypatch):
    path.rename(path.with_name("away"))
    path.mkdir()


def no_more_files(path, monkeypatch):
    monkeypatch.setattr(safetensors, "safe_open", unopened)


@pytest.mark.parametrize("hinder", [a_folder_in_its_place, no_more_files])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("checkpoint.safetensors", RunStore.load_checkpoint),
        ("checkpoint.previous.safetensors", RunStore.load_previous),
        ("weights-100.safetensors", lambda run: run.load_weights(100)),
        ("checkpoint.safetensors", lambda run: RunStore(run.folder).save_checkpoint(record(3))),
    ],
)
def test_a_file_that_is_there_and_cannot_be_read_is_not_taken_for_none(run, monkeypatch, hinder, name, read):
    """Whoever took it for none would train from zero, over what there is."""
    run.save_weights(100, record(2))
    (path,) = run.folder.glob(name)
    before = files(run)
    with monkeypatch.context() as patch:
        hinder(path, patch)
        with pytest.raises(UserError, match="is there and cannot be read"):
            read(run)
    if path.is_dir():
        path.rmdir()
        path.with_name("away").rename(path)
    assert files(run) == before
    assert same(run.load_checkpoint(), record(2))


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


@pytest.mark.parametrize("moment", ["open", "write", "fsync", "move"])
def test_a_full_disk_leaves_the_checkpoints_as_they_were(run, monkeypatch, moment):
    before = {name: (run.folder / name).read_bytes() for name in files(run)}
    with monkeypatch.context() as patch:
        fill(patch, moment)
        with pytest.raises(UserError, match="No space left"):
            run.save_checkpoint(record(3))
        with pytest.raises(UserError, match="No space left"):
            run.save_weights(100, record(3))
        with pytest.raises(UserError, match="No space left"):
            store.export_weights(run.folder / "exported.safetensors", record(3))
    assert {name: (run.folder / name).read_bytes() for name in files(run)} == before
    run.save_checkpoint(record(3))
    assert same(run.load_checkpoint(), record(3))


@pytest.mark.parametrize(("moment", "found"), [("move", 2), ("flush of the folder", 3)])
def test_a_save_that_fails_after_its_first_move_costs_no_state(run, monkeypatch, moment, found):
    """The present checkpoint is already the previous one, and neither this object nor another loses it."""
    with monkeypatch.context() as patch:
        fill(patch, moment, moves=1)
        for _ in range(2):
            with pytest.raises(UserError, match="No space left"):
                run.save_checkpoint(record(3))
    assert same(RunStore(run.folder).load_checkpoint(), record(found))
    assert same(run.load_checkpoint(), record(found))
    assert not list(run.folder.glob("*.tmp"))
    run.save_checkpoint(record(4))
    assert same(run.load_checkpoint(), record(4))
    truncate(run.folder / NEWEST)
    assert same(run.load_checkpoint(), record(found))


def test_a_save_that_the_kernel_stops_leaves_the_checkpoints_as_they_were(run):
    large = Record({"w": torch.zeros(10_000)}, {})
    before = {name: (run.folder / name).read_bytes() for name in files(run)}
    with file_limit(20_000):
        for write in (
            lambda: run.save_checkpoint(large),
            lambda: run.save_weights(100, large),
            lambda: store.export_weights(run.folder / "exported.safetensors", large),
        ):
            with pytest.raises(UserError, match=r"Cannot write .*\.safetensors: .*too large"):
                write()
    assert {name: (run.folder / name).read_bytes() for name in files(run)} == before
    assert same(RunStore(run.folder).load_checkpoint(), record(2))


def test_the_newest_checkpoint_is_read_back_once_and_not_at_every_save(run, monkeypatch):
    reads = []
    genuine = store._read
    monkeypatch.setattr(store, "_read", lambda path: reads.append(path.name) or genuine(path))
    run.save_checkpoint(record(3))  # the object that wrote it
    assert reads == []
    fresh = RunStore(run.folder)
    for step in range(4, 7):
        fresh.save_checkpoint(record(step))
    assert reads == [NEWEST]
    resumed = RunStore(run.folder)
    resumed.load_checkpoint()
    resumed.save_checkpoint(record(7))
    assert reads == [NEWEST, NEWEST]
    truncate(run.folder / NEWEST)
    assert same(resumed.load_checkpoint(), record(6))


@damages
@pytest.mark.parametrize("looks", [True, False])
def test_a_damaged_checkpoint_does_not_take_the_place_of_the_intact_one(run, monkeypatch, damage, looks):
    """Also where the run goes on without loading: the save itself dies between its moves."""
    damage(run.folder / NEWEST)
    resumed = RunStore(run.folder)
    if looks:
        resumed.load_checkpoint()
    with monkeypatch.context() as patch:
        fill(patch, "move")
        with pytest.raises(UserError):
            resumed.save_checkpoint(record(2))
    assert same(RunStore(run.folder).load_checkpoint(), record(1))
    resumed.save_checkpoint(record(2))
    truncate(run.folder / NEWEST)
    assert same(RunStore(run.folder).load_checkpoint(), record(1))


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
    """The newest is damaged, the run goes on from the one before and dies at the move of its next save."""
    truncate(run.folder / NEWEST)
    assert same(run.load_checkpoint(), record(1))

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
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


def test_a_state_may_be_of_any_type(tmp_path):
    """Also of one that numpy does not know."""
    kinds = (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool)
    tensors = {str(kind): torch.tensor([[1.0, 0.0, 3.0]]).to(kind) for kind in kinds}
    tensors["number"] = torch.tensor(2.0)
    store = RunStore(tmp_path / "seed0")
    store.save_checkpoint(Record(tensors, {"step": 1}))
    assert equal(store.load_checkpoint().tensors, tensors)


def test_a_runs_address_depends_on_everything_and_on_no_order():
    one = run_digest(cell={"a": 1, "b": 2}, step_size=0.1)
    assert one == run_digest(step_size=0.1, cell={"b": 2, "a": 1})
    assert one != run_digest(cell={"a": 1, "b": 2}, step_size=0.2)
    assert one != run_digest(cell={"a": 1, "b": 3}, step_size=0.1)


def python(code, *arguments, **options):
    """A second process, with `RunStore` and the words of its command line as `words`."""
    head = "import sys, pathlib; from aevb.store import *; words = sys.argv[1:]\n"
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_the_same_record_is_the_same_bytes_in_every_process(tmp_path):
    code = """
from torch import arange, zeros
tensors = {name: arange(4.0) for name in ("w_h", "b_h", "sums")} | {"seen": zeros(1, dtype=int)}
meta = {"samples": 3, "member": [0, 0.1], "nan": float("nan"), "rows": [{"split": "train", "bound": -1 / 3}]}
for n in range(6):
    export_weights(pathlib.Path(words[0]) / f"{n}.safetensors", Record(tensors, meta))
"""
    seeds = ["1", "2"]
    processes = [python(code, tmp_path / seed, env=os.environ | {"PYTHONHASHSEED": seed}) for seed in seeds]
    for process in processes:
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 0, errors
    contents = [path.read_bytes() for path in tmp_path.rglob("*.safetensors")]
    assert len(contents) == 12
    assert len(set(contents)) == 1


# ------------------------------------------------------------------------------------------------------ lock

TAKE = """
print('asks', flush=True)
with RunStore(pathlib.Path(words[0])).lock(): print('holds', flush=True)
"""


def waiting(run):
    """A second process that waits for the run, and the line in which it says so."""
    other = python(TAKE, run.folder)
    assert other.stdout.readline() == "asks\n"
    line = other.stderr.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(timeout=0.3)
    return other, line


def test_a_second_process_waits_says_for_whom_and_touches_nothing(tmp_path):
    run = RunStore(tmp_path / "my run")
    with run.lock():
        half = run.folder / f"{NEWEST}.{os.getpid()}.tmp"
        half.touch()
        other, line = waiting(run)
        assert line == f"Waiting for process {os.getpid()}, which trains {run.folder}\n"
        assert half.exists(), "the holder may be writing it"
    assert other.communicate(timeout=60) == ("holds\n", "")
    assert not half.exists()


@pytest.fixture
def dead():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_free_run_is_taken_without_a_word_whoever_signed_it_last(tmp_path, dead, capfd):
    (tmp_path / "lock").write_text(f"{dead}\n")
    with RunStore(tmp_path).lock():
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert capfd.readouterr() == ("", "")


def test_a_dead_process_is_not_named_as_the_one_that_is_waited_for(tmp_path, dead):
    (tmp_path / "lock").write_text(f"{dead}\n")
    with open(tmp_path / "lock") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # the holder has not signed yet
        other, line = waiting(RunStore(tmp_path))
    assert line == f"Waiting for another process, which trains {tmp_path}\n"
    assert other.communicate(timeout=60) == ("holds\n", "")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP])
@pytest.mark.parametrize("held", [False, True])
def test_a_file_system_without_locks_is_refused_by_name(tmp_path, monkeypatch, code, held):
    def flock(handle, how):
        raise BlockingIOError if held and how & fcntl.LOCK_NB else OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="Cannot lock") as refusal, RunStore(tmp_path / "run").lock():
        pass
    assert str(tmp_path / "run") in str(refusal.value)


def test_a_store_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write to") as refusal, RunStore(tmp_path / "file/run").lock():
        pass
    assert str(tmp_path / "file/run") in str(refusal.value)


def test_a_full_disk_does_not_keep_a_finished_run_from_being_read(run):
    with file_limit(0), run.lock():
        assert same(run.load_checkpoint(), record(2))


def test_what_a_killed_process_left_half_written_goes_when_the_run_is_taken(run):
    left = run.folder / f"{NEWEST}.4194305.tmp"
    left.write_bytes(bytes(1000))
    before = {name: (run.folder / name).read_bytes() for name in (NEWEST, PREVIOUS)}
    waiter = RunStore(run.folder)
    assert same(waiter.load_checkpoint(), record(2))
    assert left.exists(), "whoever only reads removes nothing: the file may be another's, who is writing it"
    with run.lock():
        assert files(run) == [PREVIOUS, NEWEST, "lock"]
    assert {name: (run.folder / name).read_bytes() for name in (NEWEST, PREVIOUS)} == before
