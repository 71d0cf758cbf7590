"""files.py: after a write there is the new file, or the old one and a sentence that says why."""

import subprocess
import sys

import pandas as pd
import pytest

from aevb import UserError, files
from disks import MOMENTS, file_limit, fill, run_on_small_disk
from offline import names


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "folder" / "täble.csv"
    files.write_text(path, "old")
    return path


def test_a_file_is_written_whole_with_its_folders_and_nothing_beside_it(path):
    assert path.read_bytes() == b"old"
    files.write_text(path, "µ = 1\n")
    assert path.read_bytes() == "µ = 1\n".encode()
    assert names(path.parent) == [path.name]


def test_a_table_is_csv_without_its_index(path):
    files.write_table(path, pd.DataFrame({"x": [1.5, 2.0], "split": ["train", None]}))
    assert path.read_text() == "x,split\n1.5,train\n2.0,\n"


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(path):
    def write(stream):
        stream.write(b"n")
        stream.flush()
        assert path.read_bytes() == b"old"
        stream.write(b"ew")

    files.replace(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_at_any_moment_is_one_error_by_name_and_leaves_a_whole_file(path, monkeypatch, moment):
    fill(monkeypatch, moment)
    with pytest.raises(UserError, match=r"No space left on device.* intact") as refusal:
        files.write_text(path, "new")
    assert str(path.parent) in str(refusal.value)
    assert path.name in str(refusal.value)
    # the name is flushed last, when the file is in its place
    assert path.read_bytes() == (b"new" if moment == MOMENTS[-1] else b"old")
    assert names(path.parent) == [path.name]


KEPT = {
    "open": {"file": b"old"},
    "write": {"file": b"old"},
    "fsync": {"file": b"old"},
    "move": {"kept": b"old"},
    "flush of the folder": {"kept": b"old", "file": b"new"},
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_to_be_kept_is_kept_whatever_fails(tmp_path, monkeypatch, moment):
    path, kept = tmp_path / "file", tmp_path / "kept"
    files.write_text(path, "old")
    fill(monkeypatch, moment, moves=1)
    with pytest.raises(UserError, match="No space left"):
        files.replace(path, lambda stream: stream.write(b"new"), keep=kept)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == KEPT[moment]


def test_there_need_be_nothing_to_keep(path):
    path.unlink()
    files.replace(path, lambda stream: stream.write(b"new"), keep=path.with_name("kept"))
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file_alone(path, fault):
    def write(stream):
        stream.write(b"half")
        raise fault

    with pytest.raises(fault):
        files.replace(path, write)
    assert path.read_bytes() == b"old"
    assert names(path.parent) == [path.name]


def test_a_file_that_the_kernel_refuses_is_one_error_and_the_old_one_stays(path):
    with file_limit(100_000), pytest.raises(UserError, match=r"Cannot write .*täble\.csv: .*too large"):
        files.write_table(path, pd.DataFrame({"x": range(100_000)}))
    assert path.read_bytes() == b"old"
    assert names(path.parent) == [path.name]


def test_writing_where_a_file_stands_in_the_way_is_refused_by_name(path):
    with pytest.raises(UserError, match=r"Cannot write .*täble\.csv.new: "):
        files.write_text(path / "new", "x")
    with pytest.raises(UserError, match=r"Cannot write .*folder: "):
        files.write_text(path.parent, "x")
    assert path.read_bytes() == b"old"
    assert names(path.parent.parent) == ["folder"]


def test_a_write_does_not_pay_for_what_only_tables_need():
    code = "import sys, aevb.files; assert not {'pandas', 'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


ON_A_FULL_DISK = """
import hashlib, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from aevb import UserError, data, store
from aevb.download import RemoteFile, fetch
from aevb.files import write_table

disk, mirror = (Path(word) for word in sys.argv[1:])
run = store.RunStore(disk / "run")
content = (mirror / "raw.bin").read_bytes()
raw = RemoteFile("raw.bin", len(content), hashlib.sha256(content).hexdigest(), (mirror.as_uri() + "/",))

def split(n):
    pixels = np.full((10, 20_000), n, np.uint8)
    return data.make_split("split", pixels[:6], pixels[6:], 255.0, (100, 200))

def record(n):
    return store.Record({"w": torch.full((50_000,), float(n))}, {"n": n})

writes = {
    "download": lambda n: fetch(raw, disk / "cache"),
    "split": lambda n: data.save(split(n), disk / "data/split.npz"),
    "table": lambda n: write_table(disk / "table.csv", pd.DataFrame({"x": [n] * 100_000})),
    "checkpoint": lambda n: run.save_checkpoint(record(n)),
    "snapshot": lambda n: run.save_weights(100, record(n)),
    "export": lambda n: store.export_weights(disk / "weights.safetensors", record(n)),
}

def found():
    return {path: path.read_bytes() for path in disk.rglob("*") if path.is_file() and path.name != "filler"}

for name, write in writes.items():
    if name != "download":  # a cached file is not fetched again: its first time is on the full disk
        write(1)
before = found()
with open(disk / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
for name, write in writes.items():
    try:
        write(2)
    except UserError as error:
        assert "No space left on device" in str(error) and str(disk) in str(error), error
    else:
        raise AssertionError(f"{name} did not notice")
    assert found() == before, name
assert run.load_checkpoint().meta == store.RunStore(run.folder).load_checkpoint().meta == {"n": 1}
(disk / "filler").unlink()
for write in writes.values():
    write(3)
assert run.load_checkpoint().meta == {"n": 3}
assert data.load(disk / "data/split.npz").train.max() == 3
"""


def test_on_a_disk_that_is_really_full_everything_before_is_intact_and_room_mends_it(tmp_path):
    disk, mirror = tmp_path / "disk", tmp_path / "mirror"
    disk.mkdir()
    mirror.mkdir()
    (mirror / "raw.bin").write_bytes(bytes(200_000))
    run_on_small_disk(ON_A_FULL_DISK, disk, str(mirror))
